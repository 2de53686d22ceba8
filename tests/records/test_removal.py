"""Records that are dropped: what failed, what belongs to a subject; the others stay as they were."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from saebench_lite.cli import main
from saebench_lite.errors import SaebenchError
from saebench_lite.records.record import paths_of, read_all
from saebench_lite.records.removal import chosen, remove
from tests.helpers.record_factory import made_up


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    scores = {"auroc": np.full((4, 3), 0.5)}
    made_up("good", scores).save(tmp_path)
    made_up("good", task="absorption", status="failed").save(tmp_path)
    made_up("typo", status="failed", headline=["auroc"]).save(tmp_path)
    made_up("typo", task="absorption", status="not_applicable").save(tmp_path)
    return tmp_path


def left(folder: Path) -> set[tuple[str, str]]:
    return {(r.subject.name, r.task.name) for r in read_all(folder)[0]}


def call(*words: str | Path, code: int = 0) -> tuple[str, str]:
    done = CliRunner().invoke(main.app, ["records", "rm", *map(str, words)])
    assert done.exit_code == code, done.output
    return done.stdout, done.stderr


@pytest.mark.parametrize(
    ("asked", "gone"),
    [
        ({"failed": True}, [("good", "absorption"), ("typo", "sparse_probing")]),
        ({"subject": "typo"}, [("typo", "absorption"), ("typo", "sparse_probing")]),
        ({"subject": "typo", "failed": True}, [("typo", "sparse_probing")]),
    ],
)
def test_what_is_asked_for_goes_and_nothing_else(folder, asked, gone):
    before = {p: p.read_bytes() for p in paths_of(folder)}
    all_ = left(folder)
    records = chosen(folder, **asked)
    assert [(r.subject.name, r.task.name) for r in records] == gone
    remove(records, folder)
    assert left(folder) == all_ - set(gone)
    assert all(before[p] == p.read_bytes() for p in paths_of(folder))
    assert not [p for p in (folder / "records").rglob("*") if p.is_dir() and not any(p.iterdir())]


def test_the_command_says_what_it_drops_and_writes_the_tables_anew(folder):
    (folder / "leaderboard.md").write_text("old: typo")
    before = left(folder)
    said, counted = call(folder, "--failed", "--dry-run")
    assert said == "good, absorption, failed: it broke\ntypo, sparse_probing, failed: it broke\n"
    assert counted == "2 records would be dropped\n"
    assert left(folder) == before
    assert call(folder, "--failed") == (said, "2 records dropped\n")
    call(folder, "--subject", "typo")
    assert left(folder) == {("good", "sparse_probing")}
    assert "typo" not in (folder / "leaderboard.md").read_text()
    assert "good" in (folder / "leaderboard.csv").read_text()
    call(folder, "--subject", "good")
    assert not (folder / "leaderboard.md").exists()
    assert not (folder / "leaderboard.csv").exists()


def test_a_folder_without_tables_gets_none(folder):
    call(folder, "--failed")
    assert not (folder / "leaderboard.md").exists()


def test_what_names_no_record_is_a_sentence(folder):
    assert "add --failed, --subject NAME, or both" in call(folder, code=2)[1]
    assert "no record is of a subject called 'god'; did you mean good" in call(folder, "--subject", "god", code=2)[1]
    assert len(left(folder)) == 4
    with pytest.raises(SaebenchError, match="holds no records"):
        chosen(folder / "none", failed=True)
