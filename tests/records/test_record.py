"""Records survive the disk, refuse what is not strict JSON, notice edits, and read the files of schema 1."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from saebench_lite.errors import SaebenchError
from saebench_lite.files import digest, write_text
from saebench_lite.records import describe
from saebench_lite.records.metric import Metric
from saebench_lite.records.record import Record, read_all, rounded, stored_path
from saebench_lite.records.schema1 import schema1_digest, schema1_path
from saebench_lite.records.types import MetricScore
from saebench_lite.records.verify import upgrade
from tests.helpers.record_factory import data_info, made_up, provenance, site
from tests.test_readme import ROOT

VALUES = {"auroc": np.array([[0.4], [0.5], [0.6]])}
OLD = sorted((ROOT / "results").glob("*/records"))
"Record folders of the published results."


def record(**changes) -> Record:
    base = made_up("a/b c", VALUES, task="t", seeds=(42,), settings={"ks": [1, 2]})
    return dataclasses.replace(base, **changes)


def test_round_trip(tmp_path):
    for r in (record(), record(provenance=provenance(), diagnostics={"latents": [1, None, {"a": 0.5}]})):
        path = r.save(tmp_path)
        assert path.parent.name == "a_b_c"
        assert Record.load(path) == r
        assert read_all(tmp_path) == ([r], [])
    assert json.loads(path.read_text())["schema"] == 2


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"ks": [1]}},
        {"seeds": [42, 43]},
        {"data": data_info("1")},
        {"subject": dataclasses.replace(record().subject, fingerprint="g")},
        {"subject": dataclasses.replace(record().subject, name="b")},
        *({"site": dataclasses.replace(site(), **{f.name: "x"})} for f in dataclasses.fields(site())),
        {"task": dataclasses.replace(record().task, version=2)},
        {"task": dataclasses.replace(record().task, package="q")},
    ],
)
def test_digest_moves_with_all_that_can_change_the_number(change):
    assert record(**change).digest != record().digest


def test_digest_ignores_what_cannot():
    renamed = dataclasses.replace(record().subject, kind="control", meta={"x": 1})
    assert record(provenance=provenance(), subject=renamed, data=data_info("0", "other")).digest == record().digest


def test_nan_never_reaches_the_disk(tmp_path):
    bad = MetricScore(value=float("nan"), low=None, high=None, n=3, per_seed=[])
    with pytest.raises(ValueError, match="JSON compliant"):
        record(scores={"auroc": bad}).save(tmp_path)
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


def without(content: dict, *keys: str) -> dict:
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    del inner[keys[-1]]
    return content


def changed(content: dict, value: object, *keys: str) -> dict:
    inner = content
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    return content


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda c: [c], "it is .*, not an object"),
        (lambda c: without(c, "schema"), "has schema None; this version reads 1 and 2"),
        (lambda c: changed(c, 3, "schema"), "has schema 3"),
        (lambda c: without(c, "task"), "lacks the key 'task'"),
        (lambda c: without(c, "task", "name"), "task lacks the key 'name'"),
        (lambda c: changed(c, 5, "task", "name"), "task.name is 5, not text"),
        (lambda c: changed(c, True, "task", "version"), "task.version is True, not a whole number"),
        (lambda c: changed(c, 1, "colour"), "has the unknown key 'colour'"),
        (lambda c: changed(c, 1, "site", "colour"), "site has the unknown key 'colour'"),
        (lambda c: changed(c, "fine", "status"), "status is 'fine', not one of ok, not_applicable, failed"),
        (lambda c: changed(c, "toy", "subject", "kind"), "subject.kind is 'toy', not one of sae, dictionary baseline"),
        (lambda c: changed(c, ["a"], "seeds"), r"seeds\[0\] is 'a', not a whole number"),
        (lambda c: changed(c, "x", "scores", "auroc", "value"), "scores.auroc.value is 'x', not a number"),
        (lambda c: changed(c, None, "scores", "auroc", "value"), "scores.auroc.value is None, not a number"),
        (lambda c: changed(c, [[1.0]], "per_unit", "auroc", "values"), "per_unit.auroc .*not one row a unit"),
        (lambda c: changed(c, [["x"]], "per_unit", "auroc", "values"), r"values\[0\]\[0\] is 'x', not a number"),
        (lambda c: changed(c, {}, "scores"), "'auroc' is either scored and not declared"),
        (lambda c: changed(c, {}, "task", "metrics"), "'auroc' is either scored and not declared"),
        (lambda c: changed(c, "up", "task", "metrics", "auroc", "better"), "better is 'up', not one of higher"),
        (lambda c: changed(c, 3, "provenance"), "provenance is 3, not an object"),
        (lambda c: changed(c, "f1", "task", "beside"), "task.beside is 'f1', not a list"),
        (lambda c: changed(c, [5], "task", "beside"), r"task.beside\[0\] is 5, not text"),
    ],
)
def test_a_malformed_record_is_one_sentence_and_stops_nothing(tmp_path, damage, sentence):
    good = dataclasses.replace(record(), subject=dataclasses.replace(record().subject, name="good"))
    good.save(tmp_path)
    path = record().save(tmp_path)
    path.write_text(json.dumps(damage(json.loads(path.read_text()))))
    with pytest.raises(SaebenchError, match=sentence) as caught:
        Record.load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    records, complaints = read_all(tmp_path)
    assert records == [good]
    assert complaints == [str(caught.value)]


@pytest.mark.parametrize("text", ["", "null", "3", '"x"', "[]", "{}", '{"schema": 1}', '{"schema": 2}', "[" * 100_000])
@pytest.mark.parametrize("key", [None, "task", "subject", "site", "scores", "data", "made"])
def test_whatever_lies_there_load_raises_nothing_else(tmp_path, text, key):
    """Each JSON value as the whole file, and in place of each part of an old record."""
    path = tmp_path / "0123456789abcdef.json"
    if key is not None and text not in ("", "[" * 100_000):
        first = next(OLD[0].glob("*/*/*.json"))
        text = json.dumps(json.loads(first.read_text()) | {key: json.loads(text)})
    path.write_text(text)
    with pytest.raises(SaebenchError):
        Record.load(path)


def as_schema1(r: Record) -> dict:
    """A record as schema 1 wrote it, with a metric that was declared and not scored."""
    plain = dataclasses.asdict(r)
    rule = "real tokens: BOS, EOS, PAD and other special tokens are read by the model and left out of every statistic"
    names = {"lower_bound": "lo", "upper_bound": "hi"}
    unscored = dataclasses.asdict(Metric(name="z", meaning="a text that nobody needs", better="lower"))
    metrics = {
        m: {names.get(k, k): v for k, v in d.items()} for m, d in (plain["task"]["metrics"] | {"z": unscored}).items()
    }
    plain["task"]["metrics"] = metrics
    plain["subject"]["kind"] = plain["subject"]["kind"].replace("dictionary baseline", "stand-in")
    plain["site"].pop("token_rule")
    plain["site"].pop("encode")
    plain["site"]["tokens"] = rule
    details = plain.pop("per_unit")
    for detail in details.values():
        if detail["weights"] is None:
            del detail["weights"]
    return plain | {"details": details, "facts": plain.pop("diagnostics"), "made": plain.pop("provenance"), "schema": 1}


def write_schema1(r: Record, root: Path) -> Path:
    old = as_schema1(r)
    identity = {
        "schema": 1,
        "task": [r.task.name, r.task.version, r.task.package],
        "subject": [r.subject.name, r.subject.fingerprint],
        "site": old["site"],
        "data": r.data.digest,
        "settings": r.settings,
        "seeds": r.seeds,
    }
    path = r.path(root).parent / f"{digest(identity)}.json"
    write_text(path, json.dumps(old))
    return path


def test_schema_1_is_read_under_its_own_digest_and_has_the_key_of_a_new_draft(tmp_path):
    r = made_up("pca", VALUES, kind="dictionary baseline", seeds=(42,), weights=np.array([[1.0], [2.0], [3.0]]))
    r = dataclasses.replace(r, provenance=provenance(), diagnostics={"tokens": 3})
    path = write_schema1(r, tmp_path)
    assert path.stem == schema1_digest(r.key) != r.digest
    assert Record.load(path) == r
    assert stored_path(r.key, tmp_path) == path
    assert read_all(tmp_path) == ([r], [])
    path.rename(path.with_name(f"{r.digest}.json"))
    with pytest.raises(SaebenchError, match=f"edited or renamed: its content has the digest {path.stem}"):
        Record.load(path.with_name(f"{r.digest}.json"))


def test_a_new_record_takes_the_place_of_its_schema_1_file(tmp_path):
    write_schema1(record(), tmp_path)
    new = record(provenance=provenance())
    path = new.save(tmp_path)
    assert stored_path(new.key, tmp_path) == path
    assert list(tmp_path.rglob("*.json")) == [path]
    write_schema1(record(), tmp_path)  # a run that was killed between the two steps
    assert read_all(tmp_path) == ([new], [])


@pytest.mark.parametrize("folder", OLD, ids=lambda p: p.parent.name)
def test_published_records_keep_their_scores_to_the_last_digit(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "records")
    before, _ = read_all(tmp_path)
    raw = {p: json.loads(p.read_text()) for p in folder.glob("*/*/*.json")}
    old = [c for c in raw.values() if c["schema"] == 1]
    assert upgrade(tmp_path) == len(old)
    after = {r.digest: r for r in read_all(tmp_path)[0]}
    assert after == {r.digest: r for r in before}
    assert len(after) == len(raw)
    assert all(path.stem in after for path in tmp_path.rglob("*.json"))
    for path, content in raw.items():
        new = Record.load(path)
        assert {m: dataclasses.asdict(s) for m, s in new.scores.items()} == content["scores"]
        assert new == after[new.digest]
        assert {m: u.values for m, u in new.per_unit.items()} == {
            m: d["values"] for m, d in content.get("details", content.get("per_unit")).items()
        }


def test_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_text(tmp_path / "x.json", "{}")
    assert list(tmp_path.iterdir()) == []


def test_the_page_is_that_of_the_types_and_every_field_has_its_sentence():
    for kind in (describe.RecordKey, *describe.TYPES):
        assert set(describe.sentences(kind)) == {f.name for f in dataclasses.fields(kind)}
    written = (ROOT / "docs" / "records.md").read_text()
    assert written == describe.page(), "run python -m saebench_lite.records.describe > docs/records.md"


def test_schema_1_path_lies_beside_the_new_one(tmp_path):
    assert schema1_path(record().key, tmp_path).parent == record().path(tmp_path).parent


def test_metrics_beside_the_headline_are_stored_only_where_there_are_any(tmp_path):
    alone = record()
    assert "beside" not in json.loads(alone.save(tmp_path).read_text())["task"]
    both = dataclasses.replace(alone, task=dataclasses.replace(alone.task, beside=("f1", "l0")))
    assert both.digest == alone.digest  # they do not change a number
    path = both.save(tmp_path)
    assert json.loads(path.read_text())["task"]["beside"] == ["f1", "l0"]
    assert Record.load(path) == both
    assert both.task.shown == [*alone.task.headline, "f1", "l0"]
