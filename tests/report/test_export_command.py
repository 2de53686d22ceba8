"""The exports of the command `leaderboard`."""

import dataclasses
import json
from pathlib import Path

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from saebench_lite.cli.main import app
from saebench_lite.report.exports import EXPORTS
from tests.helpers.page_records import probing, reconstruction
from tests.report.test_exports import exported
from tests.report.test_markup import DANGEROUS, NAMES


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


def test_hostile_names_are_text_in_every_export_and_command(tmp_path: Path):
    names = [name for kind, name in NAMES.items() if kind != "surrogate"]  # which no file system or JSON has
    folder = tmp_path / "results"
    for i, name in enumerate(names):
        for record in (probing(name, "sae", 0.01, {}, units=4), reconstruction(name, "sae", 0.01, {"d_sae": 64}, 8.0)):
            subject = dataclasses.replace(record.subject, fingerprint=f"{i:064}")
            dataclasses.replace(record, subject=subject).save(folder)

    def call(*words: str | Path) -> None:
        done = CliRunner().invoke(app, [str(word) for word in words])
        assert done.exit_code == 0, done.output
        assert not DANGEROUS.search(done.output.replace("\n", ""))

    for format in EXPORTS:
        call("leaderboard", folder, "--format", format, "--out", tmp_path / format)
    assert set(pd.read_parquet(tmp_path / "parquet").subject) == set(names)
    assert len([yaml.safe_load(path.read_text()) for path in (tmp_path / "hf").iterdir()]) == len(names)
    for format in ("saebench", "eee"):
        files = [json.loads(path.read_text()) for path in (tmp_path / format).rglob("*.json")]
        assert len(files) == len(names)
    call("show", NAMES["escape"], "sparse_probing", folder)
    call("compare", NAMES["return"], NAMES["html"], folder)
    call("records", "rm", folder, "--subject", NAMES["title"], "--dry-run")


@pytest.mark.parametrize("format", ["md", "csv", "json", "latex", "html"])
def test_a_table_that_is_written_to_a_file_says_so(format: str, tmp_path: Path):
    for record in exported():
        record.save(tmp_path / "results")
    words = ["leaderboard", str(tmp_path / "results"), "--format", format, "--out", str(tmp_path / "table")]
    done = CliRunner().invoke(app, words)
    assert f"wrote {tmp_path / 'table'}\n" in done.stdout
