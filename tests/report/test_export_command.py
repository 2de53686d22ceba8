"""The exports of the command `leaderboard`."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from saebench_lite.cli.main import app
from saebench_lite.report.exports import EXPORTS
from tests.report.test_exports import exported


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--format parquet", "Error: format parquet is for other tools and is not printed; name a place with --out"),
        ("--format hf --out file", "Error: out 'file' is a file, and format hf writes one file an SAE; name a folder"),
        ("--format parquet --out results", "Error: out 'results' is a folder; give the name of a file"),
        ("--format saebench --metrics all --out x", "Error: format saebench has metrics of its own"),
        ("--format hf --columns l0 --out x", "Error: --columns l0 is for the terminal"),
        (
            "--format hff",
            "Error: format 'hff' is not known; choose from md, csv, json, latex, html, parquet, hf, saebench, eee",
        ),
    ],
)
def test_bad_combinations(words: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for record in exported():
        record.save(tmp_path / "results")
    (tmp_path / "file").write_text("")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["leaderboard", "results", *words.split()])
    assert done.exit_code == 2
    assert done.output.startswith(sentence)
    assert done.output.count("\n") == 1


@pytest.mark.parametrize("format", EXPORTS)
def test_the_command_writes(format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for record in exported():
        record.save(tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["leaderboard", "results", "--format", format, "--out", "new/x"])
    assert done.exit_code == 0, done.output
    wanted = {"parquet": "wrote new/x\n", "saebench": "wrote 3 file(s) to new/x\n"}
    assert done.output == wanted.get(format, "wrote 1 file(s) to new/x\n")
