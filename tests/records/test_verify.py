"""Every kind of change to a record file is caught: values, units, parts of the digest, names, folders, code."""

import dataclasses
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from saebench_lite.cli.main import app
from saebench_lite.records.record import Record, paths_of
from saebench_lite.records.verify import upgrade, verify
from tests.helpers.record_factory import made_up, provenance
from tests.records.test_record import write_schema1

DRAW = np.random.default_rng(0)
VALUES = {"auroc": DRAW.normal(0.7, 0.1, size=(9, 3)), "delta": DRAW.normal(1e-4, 1, size=(9, 3))}
VALUES["auroc"][2, 1] = np.nan


def record(code: str | None = "c" * 40) -> Record:
    return dataclasses.replace(
        made_up("a", VALUES, weights=DRAW.random((9, 3)), settings={"k": 1}), provenance=provenance(code=code)
    )


def test_what_was_written_verifies(tmp_path):
    record().save(tmp_path)
    made_up("failed", status="failed").save(tmp_path)
    write_schema1(made_up("old", VALUES, seeds=(1, 2, 3)), tmp_path)
    assert verify(tmp_path) == (3, [])


def edit(path, *keys, value):
    content = json.loads(path.read_text())
    content.pop("checksum", None)  # as one who edits it would
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value(inner[keys[-1]])
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("keys", "value", "sentence"),
    [
        (("scores", "auroc", "value"), lambda v: v + 2e-7, "auroc: value is"),
        (("scores", "auroc", "low"), lambda v: v - 1e-6, "auroc: low is"),
        (("scores", "delta", "high"), lambda v: None, "delta: high is"),
        (("scores", "delta", "n"), lambda v: v + 1, "delta: n is [10] in the record and [9] by its unit values"),
        (("scores", "auroc", "per_seed"), lambda v: v[::-1], "auroc: per_seed is"),
        (("scores", "auroc", "per_seed"), lambda v: v[:2], "auroc: per_seed is"),
        (("per_unit", "auroc", "values"), lambda v: [[0.5, *v[0][1:]], *v[1:]], "auroc: value is"),
        (("per_unit", "auroc", "weights"), lambda v: [[9.0, *v[0][1:]], *v[1:]], "auroc: value is"),
        (("per_unit", "auroc", "weights"), lambda v: None, "auroc: value is"),
        (("per_unit",), lambda v: {"auroc": v["auroc"]}, "delta: has a score and no unit values"),
        (("task", "metrics", "auroc", "upper_bound"), lambda v: 0.5, "outside [None, 0.5]"),
        (("seeds",), lambda v: [1, 2, 3], "edited or renamed"),
        (("settings", "k"), lambda v: 2, "edited or renamed"),
        (("data", "digest"), lambda v: "1", "edited or renamed"),
        (("site", "dtype"), lambda v: "float16", "edited or renamed"),
        (("subject", "fingerprint"), lambda v: "b", "edited or renamed"),
        (("task", "version"), lambda v: 2, "edited or renamed"),
        (("provenance", "code"), lambda v: v + "+", "was made from an edited checkout"),
        (("task",), lambda v: 3, "is not a record"),
    ],
)
def test_each_change_is_caught(tmp_path, keys, value, sentence):
    path = record().save(tmp_path)
    if keys[-1] == "upper_bound":
        edit(path, "task", "metrics", "auroc", value=lambda v: v | {"upper_bound": None})
    edit(path, *keys, value=value)
    count, faults = verify(tmp_path)
    assert count == 1
    assert sentence in faults[0]
    assert all(fault.startswith(f"{path}: ") and "\n" not in fault for fault in faults)


def test_renamed_and_moved_files_are_caught(tmp_path):
    path = record().save(tmp_path)
    moved = path.rename(path.with_name("0123456789abcdef.json"))
    assert "edited or renamed" in verify(tmp_path)[1][0]
    elsewhere = tmp_path / "records" / "other@1" / "a" / path.name
    elsewhere.parent.mkdir(parents=True)
    moved.rename(elsewhere)
    assert "lies in the wrong folder; it belongs to" in verify(tmp_path)[1][0]


def test_code_may_be_unknown_unless_it_must_not(tmp_path):
    record(code=None).save(tmp_path)
    assert verify(tmp_path)[1] == []
    assert "names no commit" in verify(tmp_path, strict_code=True)[1][0]


def test_upgrade_renames_and_leaves_scores_and_provenance_alone(tmp_path):
    old = dataclasses.replace(made_up("old", VALUES), provenance=provenance(code="c" * 40 + "+"))
    write_schema1(old, tmp_path)
    record().save(tmp_path)
    (tmp_path / "records" / "x@1" / "y").mkdir(parents=True)
    (tmp_path / "records" / "x@1" / "y" / "0.json").write_text("{}")
    assert (upgrade(tmp_path), upgrade(tmp_path)) == (1, 0)
    assert Record.load(old.path(tmp_path)) == old
    assert len(paths_of(tmp_path)) == 3


def test_command(tmp_path):
    call = lambda *words: CliRunner().invoke(app, ["verify", *map(str, words)])  # noqa: E731
    record().save(tmp_path / "one")
    write_schema1(made_up("old", VALUES), tmp_path / "two")
    assert (call(tmp_path).exit_code, call(tmp_path).output) == (0, "2 records, no fault\n")
    assert call(tmp_path / "one", "--strict-code").exit_code == 0
    assert call(tmp_path / "two", "--strict-code").exit_code == 1
    assert "1 record rewritten as schema 2\n2 records, no fault" in call("--upgrade", tmp_path).output
    edit(record().path(tmp_path / "one"), "scores", "auroc", "value", value=lambda v: v / 2)
    done = call(tmp_path)
    assert done.exit_code == 1
    assert "auroc: value is" in done.output
    assert "1 fault in 2 records" in done.output
    (tmp_path / "bare" / "records").mkdir(parents=True)
    for empty in ("nowhere", "bare"):
        nowhere = call(tmp_path / empty)
        assert nowhere.exit_code == 2
        assert "holds no records" in nowhere.output
