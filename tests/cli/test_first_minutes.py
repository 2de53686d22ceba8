"""What a newcomer types in the first minutes."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from typer.main import get_command
from typer.testing import CliRunner

from saebench_lite.bundled import sae_folders
from saebench_lite.cli import main, run
from saebench_lite.loaders import native
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.version import __version__
from tests.helpers.record_factory import made_up


def invoke(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(main.app, list(words))
    assert done.exit_code == code, done.output
    return done.output


def test_version_and_help_without_a_command():
    assert invoke("--version") == f"saebench-lite {__version__}\n"
    assert invoke() == invoke("--help")
    assert invoke("data") == invoke("data", "--help")


def test_every_option_of_run_stands_in_one_group_of_its_help():
    text = invoke("run", "--help")
    assert all(f"{title}:\n" in text for title in (*run.GROUPS, "Other"))
    grouped = [name for names in run.GROUPS.values() for name in names]
    command = get_command(main.app).commands["run"]  # type: ignore[attr-defined]  # a group of commands
    assert sorted(grouped) == sorted({p.name for p in command.params} - {"plugin", "debug", "help"})
    for parameter in command.params:
        assert text.count(f"\n  {parameter.opts[0]} ") == 1, parameter.name
    assert text.index("Other:") < text.index("Example:")


def commands() -> dict[str, object]:
    app = get_command(main.app)
    return {name: c for name, c in app.commands.items()}  # type: ignore[attr-defined]  # a group of commands


@pytest.mark.parametrize("name", commands())
def test_brackets_survive_in_help(name):
    text = "".join(invoke(name, "--help").split())
    for parameter in commands()[name].params:  # type: ignore[attr-defined]
        assert "".join((getattr(parameter, "help", None) or "").split()) in text


def test_the_example_of_the_help_is_understood():
    words = run.EXAMPLE.split("saebench-lite ")[1].replace("\\\n", " ").replace("'", "").split()
    (option,) = [p for p in commands()["run"].params if p.name == "sae"]  # type: ignore[attr-defined]
    with get_command(main.app).make_context("x", main.understood(words), resilient_parsing=True) as ctx:
        sub = commands()["run"].make_context("run", main.understood(words)[1:])  # type: ignore[attr-defined]
        assert ctx.invoked_subcommand is None
    assert sub.params["sae"] == ["./runs/topk32", "mine=./runs/relu", "sweep/*/final"]
    assert option.multiple


def test_one_option_takes_several_saes():
    words = ["run", "--sae", "a", "b", "--quiet", "--sae", "c"]
    assert main.understood(words) == ["run", "--sae", "a", "--sae", "b", "--quiet", "--sae", "c"]


def test_an_option_without_a_value_is_still_an_error():
    assert main.understood(["run", "--sae"]) == ["run", "--sae"]
    assert main.understood(["run", "--sae", "--quiet"]) == ["run", "--sae", "--quiet"]


def test_shells_complete_commands():
    code = "import sys; sys.argv = ['saebench-lite']; from saebench_lite.cli.main import main; main()"
    asked = {"_SAEBENCH_LITE_COMPLETE": "complete_bash", "COMP_WORDS": "saebench-lite lea", "COMP_CWORD": "1"}
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **asked}, capture_output=True, text=True)
    assert done.stdout.split() == ["leaderboard"], done.stderr
    assert "--install-completion" in invoke("--help")


def test_an_sae_in_a_module_of_the_working_folder(tmp_path):
    """In a process of its own, as the installed command has no working folder on its path."""
    (tmp_path / "mysae.py").write_text(
        "import torch\nfrom saebench_lite import AffineSAE\n"
        "def make():\n    return AffineSAE(W_enc=torch.eye(8), W_dec=torch.eye(8))\n"
    )
    code = "import sys; sys.path.remove(''); sys.argv = ['saebench-lite', 'inspect', {!r}]\n"
    code += "from saebench_lite.cli.main import main; main()"
    env = {**os.environ, "PYTHONPATH": str(main.__file__).split("/saebench_lite/cli")[0]}
    for spec, sentence, status in (
        ("mysae:make", "d_in 8", 0),
        ("nosae:make", "there is no module 'nosae' for nosae:make, neither here nor among the installed packages", 2),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code.format(spec)], cwd=tmp_path, env=env, capture_output=True, text=True
        )
        assert done.returncode == status, done.stderr
        assert sentence in done.stdout + done.stderr


def test_a_limit_of_nothing_is_a_sentence():
    assert invoke("run", "--limit", "0", code=2) == "Error: limit is 0; give a whole number, 1 at least\n"


@pytest.mark.parametrize(
    "words",
    [
        "train --out file/x",
        "fine-tune sae --model pico --out file/x",
        "audit --out file/x",
        "baseline save results --to file/x",
        "quiver results --out file/x/y.md",
        "leaderboard results --out file/x/y.md",
        "leaderboard results --format parquet --out file/x/y.parquet",
        "plot pareto results --out file/x/y.svg",
        "run --out file/x",
        "stability pico --out file/x/y.json",
    ],
)
def test_a_place_that_cannot_be_written_is_refused_before_the_work(words, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    made_up("a", {"auroc": np.full((3, 1), 0.5)}, seeds=(1,)).save(tmp_path / "results")
    native.save(AffineSAE(W_enc=torch.eye(128), W_dec=torch.eye(128)), tmp_path / "sae")
    monkeypatch.chdir(tmp_path)
    assert re.search(
        r"Error: (out|to) 'file/x' cannot be written to \(Not a directory\)", invoke(*words.split(), code=2)
    )


@pytest.mark.parametrize("words", [["cache"], ["run", "--dry-run"]])
def test_a_limit_of_the_cache_that_is_no_size_is_a_sentence(words, monkeypatch):
    monkeypatch.setenv("SAEBENCH_LITE_CACHE_LIMIT", "abc")
    wrong = "Error: SAEBENCH_LITE_CACHE_LIMIT is 'abc'; give a number of GiB, 0 at least, or none\n"
    assert invoke(*words, code=2) == wrong


@pytest.mark.parametrize(
    "words", [["run", "--out", ""], ["run", "--cache="], ["train", "--out", " "], ["baseline", "save", "x", "--to", ""]]
)
def test_an_empty_path_is_not_the_working_folder(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "it is empty; give a path, or . for the working folder" in invoke(*words, code=2)
    assert list(tmp_path.iterdir()) == []


def test_a_shard_without_work_is_no_error(tmp_path):
    words = ["--tasks", "reconstruction", "--baselines", "none", "--limit", "1", "--max-texts", "20", "--quiet"]
    shard = ["run", "--sae", str(sae_folders()[0]), *words, "--out", str(tmp_path), "--shard", "2/2"]
    assert invoke(*shard) == "shard 2/2 has none of this run's work; the other shards have all of it\n"
    assert invoke(*shard, "--json") == "[]\n"
    assert list(tmp_path.iterdir()) == []
    elsewhere = ["run", "--hook", "blocks.1.hook_resid_post", *words]  # where no bundled SAE belongs
    assert "there is nothing to score: no task takes" in invoke(*elsewhere, "--out", str(tmp_path), code=2)
