"""Signs that something else was scored than was meant: each shown once, none without a reason."""

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import saebench_lite as sb
from saebench_lite.cli import main
from saebench_lite.records.metric import Better
from saebench_lite.records.record import Record, read_all
from saebench_lite.report.doubts import MOST, doubts
from tests.conftest import ROOT
from tests.helpers.record_factory import METRICS, made_up


def scored(name="a", l0: float | None = 8.0, published: object = 8, dead: float = 0.1, **changes) -> Record:
    values = {"dead_fraction": np.array([[dead]])} | ({} if l0 is None else {"l0": np.array([[l0]])})
    known: dict[str, Better] = {**METRICS, "dead_fraction": "lower"}
    more: dict[str, Any] = {"meta": {"published_l0": published}} | changes
    return made_up(name, values, task="reconstruction", seeds=(), metrics=known, **more)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, None),
        ({"l0": 16.0}, None),  # a factor of 2 is no sign
        ({"l0": 4.0}, None),
        ({"l0": 16.1}, "a: its L0 is 16.100 where 8 was published; is this its model, hook and scale?"),
        ({"l0": 1.9}, "a: its L0 is 1.900 where 8 was published; is this its model, hook and scale?"),
        ({"l0": 1.9, "published": None}, None),
        ({"l0": 1.9, "published": "8"}, None),
        ({"l0": 1.9, "published": 0}, None),
        ({"l0": 0.0}, "a: it never fires: all its codes are 0; is this its model, hook and scale?"),
        ({"l0": 0.0, "dead": 1.0}, "a: it never fires: all its codes are 0; is this its model, hook and scale?"),
        ({"dead": 0.5}, None),
        ({"dead": 0.97}, "a: 97 % of its latents are dead"),
        ({"l0": None}, None),
        ({"l0": None, "meta": {"published_l0": 8, "sample_l0": 1.9}}, "a: its L0 is 1.900 where 8 was published"),
        ({"l0": 0.0, "kind": "control"}, None),
    ],
)
def test_one_sae(changes, sentence):
    said = doubts([scored(**changes)])
    assert len(said) == (sentence is not None)
    if sentence is not None:
        assert said[0].startswith(sentence)


def test_the_l0_of_the_recipe_stands_in_for_a_published_one():
    recipe = {"recipe": {"l0": 2}}
    (said,) = doubts([scored(l0=36.3, meta=recipe)])
    assert said == "a: its L0 is 36.300 where its recipe asked for 2; is this its model, hook and scale?"
    assert doubts([scored(l0=2.3, meta=recipe)]) == []
    assert doubts([scored(l0=8.0, meta={"published_l0": 8} | recipe)]) == []


def test_a_run_says_them_under_its_table(tmp_path):
    module = tmp_path / "silent.py"
    module.write_text(
        "class Silent:\n"
        "    d_in, d_sae = 128, 8\n\n"
        "    def encode(self, x):\n        return x.new_zeros(len(x), 8)\n\n"
        "    def decode(self, f):\n        return f.new_zeros(len(f), 128)\n\n\n"
        "sae = Silent()\n"
    )
    (tmp_path / "t.txt").write_text("".join(f"The number {i} is written here.\n" for i in range(12)))
    words = ["run", "--sae", "zero=silent:sae", "--tasks", "reconstruction", "--baselines", "none", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "saebench_lite", *words, "--data", "local:t.txt", "--out", "o"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Check zero: it never fires: all its codes are 0" in done.stderr


def test_two_signs_are_one_line_and_an_sae_of_two_tasks_is_named_once():
    both = [scored(l0=100.0, dead=0.9), made_up("a", {"auroc": np.array([[0.5]])}, seeds=(1,))]
    (line,) = doubts(both)
    assert line.startswith("a: its L0 is 100 where 8 was published")
    assert line.endswith("; 90 % of its latents are dead")


def test_sites_are_named_where_there_are_several():
    lines = doubts([scored(l0=0.0), scored(l0=0.0, hook="h2")])
    assert len(lines) == 2
    assert "· h2 ·" in lines[1]


def test_many_are_counted():
    lines = doubts([scored(f"sae {i}", l0=0.0) for i in range(MOST + 3)])
    assert len(lines) == MOST + 1
    assert lines[-1] == "3 more SAEs like these"


def test_bundled_results_raise_none():
    assert doubts(read_all(ROOT / "results" / "pico")[0]) == []


def test_they_stand_under_tables(tmp_path):
    made = scored("<b>", l0=0.0)
    made.save(tmp_path)
    done = CliRunner().invoke(main.app, ["leaderboard", str(tmp_path)])
    assert done.stderr == "Check <b>: it never fires: all its codes are 0; is this its model, hook and scale?\n"
    assert "Check" not in done.stdout
    board = sb.leaderboard(tmp_path)
    assert repr(board).splitlines()[-1].startswith("Check <b>: it never fires")
    assert board._repr_html_().splitlines()[-1].startswith("<p>Check &lt;b&gt;: it never fires")
