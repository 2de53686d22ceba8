"""The command `plot`, and the commands of its page."""

import csv
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from saebench_lite.cli.main import app
from tests.helpers.plot_records import plot_records
from tests.test_docs import ROOT, blocks, commands

PAGE = ROOT / "docs" / "plots.md"
SHOWN = [line for block in blocks(PAGE) if not block.language for line in commands(block.text)]


def test_writes_a_figure_and_its_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for record in plot_records():
        record.save(tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["plot", "pareto", "results", "--out", "new/a.pdf", "--y", "ce_delta"])
    assert done.output == "wrote new/a.pdf and new/a.csv\n"
    assert done.exit_code == 0
    assert (tmp_path / "new" / "a.pdf").read_bytes().startswith(b"%PDF")
    with (tmp_path / "new" / "a.csv").open() as file:
        assert {row["y_metric"] for row in csv.DictReader(file)} == {"reconstruction.ce_delta"}
    done = CliRunner().invoke(app, ["plot", "heatmap", "results"])
    assert done.output == "wrote heatmap.svg and heatmap.csv\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("plot truth results", "Error: no record is of the task truth"),
        ("plot pareto results --out a.gif", "Error: out 'a.gif' must end in .svg, .pdf, .png"),
        ("plot pareto elsewhere", "Error: elsewhere holds no records"),
        (
            "plot pareto results --out results/leaderboard.svg",
            "Error: out 'results/leaderboard.svg' would write its data over the leaderboard results/lea",
        ),
        ("plot heatmap results --y ce_delta", "Error: heatmap takes no y (ce_delta); it takes metric, site"),
    ],
)
def test_one_sentence(words: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for record in plot_records():
        record.save(tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, words.split())
    assert done.exit_code == 2
    assert done.output.startswith(sentence)
    assert done.output.count("\n") == 1


@pytest.mark.parametrize("line", [line for line in SHOWN if " plot " in line and "results/" in line])
def test_commands_of_the_page_run_on_committed_results(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "results").symlink_to(ROOT / "results")
    monkeypatch.chdir(tmp_path)
    words = shlex.split(line, comments=True)[1:]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    out = tmp_path / words[words.index("--out") + 1]
    assert out.stat().st_size > 1000
    with out.with_suffix(".csv").open() as file:
        assert len(list(csv.DictReader(file))) > 10
