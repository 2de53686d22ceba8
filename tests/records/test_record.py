"""Records survive the disk, refuse what is not strict JSON, and notice edits."""

import dataclasses
import json

import pytest

from saebench_lite.errors import SaebenchError
from saebench_lite.files import write_text
from saebench_lite.records.record import Record, read_all, rounded


def record(**changes) -> Record:
    base = Record(
        task={"name": "t", "version": 1, "package": "p", "headline": ["m"], "metrics": {"m": {"better": "higher"}}},
        subject={"name": "a/b c", "kind": "sae", "fingerprint": "f", "meta": {}},
        site={"model": "x", "hook": "h", "dtype": "float32"},
        data={"name": "d", "digest": "0"},
        settings={"ks": [1, 2]},
        seeds=[42],
        status="ok",
        scores={"m": {"value": 0.5, "low": 0.4, "high": 0.6, "n": 3, "per_seed": [0.5]}},
    )
    return dataclasses.replace(base, **changes)


def test_round_trip(tmp_path):
    path = record().save(tmp_path)
    assert path.parent.name == "a_b_c"
    assert Record.load(path) == record()
    assert read_all(tmp_path) == ([record()], [])


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"ks": [1]}},
        {"seeds": [42, 43]},
        {"data": {"name": "d", "digest": "1"}},
        {"subject": {"name": "a/b c", "kind": "sae", "fingerprint": "g", "meta": {}}},
        {"site": {"model": "x", "hook": "h2", "dtype": "float32"}},
        {"task": {"name": "t", "version": 2, "package": "p", "headline": ["m"], "metrics": {}}},
    ],
)
def test_digest_moves_with_all_that_can_change_the_number(change):
    assert record(**change).digest != record().digest


def test_digest_ignores_what_cannot():
    assert record(made={"seconds": 3}, scores={}).digest == record().digest


def test_nan_never_reaches_the_disk(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        record(scores={"m": {"value": float("nan")}}).save(tmp_path)
    assert list(tmp_path.rglob("*.json")) == []
    assert rounded(float("nan")) is None


def test_damaged_and_edited_files_are_left_out_with_a_sentence(tmp_path):
    path = record().save(tmp_path)
    content = json.loads(path.read_text())
    content["seeds"] = [7]
    path.write_text(json.dumps(content))
    with pytest.raises(SaebenchError, match="edited or renamed"):
        Record.load(path)
    path.write_text(path.read_text()[:40])
    records, complaints = read_all(tmp_path)
    assert records == []
    assert "is not a record" in complaints[0]


def test_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_text(tmp_path / "x.json", "{}")
    assert list(tmp_path.iterdir()) == []
