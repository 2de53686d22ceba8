"""What the gate must not pass: each kind of record that hides a worse SAE is not comparable, with its sentence."""

import dataclasses
import json
import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

from saebench_lite.cli.main import app
from saebench_lite.errors import SaebenchError
from saebench_lite.records.record import Record
from saebench_lite.report.regression import check
from saebench_lite.report.regression_ci import to_junit
from saebench_lite.report.regression_text import to_markdown
from tests.helpers.record_factory import made_up

UNIT = np.random.default_rng(0).normal(0.7, 0.05, size=(20, 1))


def good(**other) -> Record:
    return made_up("a", {"auroc": UNIT}, **({"seeds": (), "fingerprint": "old"} | other))


def worse(values: np.ndarray = UNIT - 0.3, **other) -> Record:
    return made_up("a", {"auroc": values}, **({"seeds": (), "fingerprint": "new"} | other))


def without(rows: slice, lowered: np.ndarray = UNIT - 0.3) -> np.ndarray:
    """The values with those of some units missing."""
    out = lowered.copy()
    out[rows] = np.nan
    return out


def renamed(record: Record) -> Record:
    """The record with other names of units."""
    stored = record.per_unit["auroc"]
    units = [f"other {u}" for u in stored.units]
    return dataclasses.replace(record, per_unit={"auroc": dataclasses.replace(stored, units=units)})


def declared(record: Record, **changes: object) -> Record:
    """The record with another declaration of its metric."""
    metric = dataclasses.replace(record.task.metrics["auroc"], **changes)
    return dataclasses.replace(record, task=dataclasses.replace(record.task, metrics={"auroc": metric}))


def headed(record: Record, headline: list[str]) -> Record:
    return dataclasses.replace(record, task=dataclasses.replace(record.task, headline=headline))


def control(record: Record) -> Record:
    return dataclasses.replace(record, subject=dataclasses.replace(record.subject, kind="control"))


def scored(record: Record, value: float) -> Record:
    """The record with an edited score."""
    score = dataclasses.replace(record.scores["auroc"], value=value)
    return dataclasses.replace(record, scores={"auroc": score})


WEIGHTS = np.where(np.arange(20)[:, None] < 3, 1.0, 0.0)
OTHER = made_up("b", {"auroc": UNIT}, seeds=())
SHORT = {n: made_up("a", {"auroc": UNIT[:n]}, seeds=()) for n in (1, 2)}
CASES = {
    "few units": ([worse(UNIT[:2] - 0.3)], [good()], "auroc has values on 2 of the baseline's 20 units"),
    "one unit": ([worse(UNIT[:1] - 0.3)], [good()], "auroc has values on 1 of the baseline's 20 units"),
    "nulls": ([worse(without(slice(2, None)))], [good()], "auroc has values on 2 of the baseline's 20 units"),
    "one null": ([worse(without(slice(0, 1)))], [good()], "auroc has values on 19 of the baseline's 20 units"),
    "renamed units": ([renamed(worse())], [good()], "auroc has values on 0 of the baseline's 20 units"),
    "weights of 0": ([worse(weights=WEIGHTS)], [good()], "auroc has values on 3 of the baseline's 20 units"),
    "few units in the baseline": ([worse()], [SHORT[2]], "18 more than"),
    "one unit each": ([worse(UNIT[:1] - 0.3)], [SHORT[1]], "one unit without standard"),
    "no direction": (
        [declared(worse(), better="neither")], [declared(good(), better="neither")], "no metric to judge"
    ),
    "no headline": ([headed(worse(), [])], [headed(good(), [])], "no metric to judge"),
    "direction of one edited": ([worse()], [declared(good(), better="lower")], "several directions in one version"),
    "direction of one removed": ([worse()], [declared(good(), better="neither")], "several directions in one version"),
    "headline of one edited": ([worse()], [headed(good(), ["l0"])], "several sets of metrics in one version"),
    "baseline called control": ([worse(), OTHER], [control(good()), OTHER], "no baseline holds an SAE of that name"),
    "new one called control": ([control(worse())], [good()], "it is an SAE in the baseline and a control now"),
    "edited score": ([scored(worse(), 0.7)], [good()], "is 0.7 and by its units 0.39"),
    "edited baseline": ([worse()], [scored(good(), 0.3)], "is 0.3 and by its units 0.69"),
    "undated beside an older good one": (
        [worse(), good(date="2025-01-01T00:00:00Z")], [good()], "of several SAEs of that name"
    ),
    "undated, other seeds": (
        [worse(UNIT - [[0.3, 0.3]], seeds=(3, 4)), worse(UNIT, seeds=(1,), date="2025-01-01T00:00:00Z")],
        [made_up("a", {"auroc": UNIT}, seeds=(7,))], "several records of sparse_probing, one without a date",
    ),
    "failed": ([worse(status="failed")], [good()], "sparse_probing is failed now (it broke)"),
    "failed in the baseline": ([worse(), OTHER], [good(status="failed"), OTHER], "is failed in the baseline"),
    "extra": ([good(), OTHER], [good()], "b: no baseline holds an SAE of that name"),
    "missing": ([OTHER], [good(), OTHER], "a: the new results hold no subject of that name"),
    "a task that failed and was not there": (
        [good(), made_up("a", {"auroc": UNIT}, seeds=(), task="ce_delta", status="failed")], [good()],
        "ce_delta failed (it broke)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CASES)
def test_what_hides_a_worse_sae_is_not_comparable(kind):
    new, base, sentence = CASES[kind]
    result = check(new, base)
    assert result.status() == 2, to_markdown(result)
    assert [sentence in p for p in result.problems].count(True) == 1, result.problems
    suite = ElementTree.fromstring(to_junit(result))[0]
    assert suite.get("errors") == str(len(result.problems))


def test_without_the_trick_the_gate_sees_it():
    assert check([worse()], [good()]).status() == 1
    assert check([good()], [good()]).status() == 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0])
@pytest.mark.parametrize("option", ["min_effect", "allow"])
def test_sizes_that_switch_the_gate_off_are_refused(option, value):
    with pytest.raises(SaebenchError, match="give a number that is not negative"):
        check([worse()], [good()], **{option: value})


def test_every_folder_must_hold_what_it_stands_for():
    base = [[made_up("a", {"auroc": UNIT}, seeds=(), fingerprint=f)] for f in "xy"]
    assert check([good()], *base, [OTHER]).problems == [
        "a: baseline 3: sparse_probing: a has no record of it",
        "b: the new results hold no subject of that name",
    ]
    failed = made_up("a", {"auroc": UNIT}, seeds=(), fingerprint="z", status="failed")
    assert "is failed in baseline 3" in check([good()], *base, [failed]).problems[0]
    recipes = [made_up("a", {"auroc": UNIT}, seeds=(), meta={"recipe": {"lr": r, "seed": 1}}) for r in (1, 2)]
    assert "different recipes" in check([good()], *([r] for r in recipes)).problems[0]


def test_a_task_that_does_not_apply_to_either_is_no_problem():
    other = made_up("a", {}, task="ce_delta", seeds=(), status="not_applicable")
    result = check([good(), other], [good(), other])
    assert (result.status(), len(result.findings)) == (0, 1)
    assert "ce_delta is not_applicable in the baseline" in to_markdown(result)


def saved(record: Record, folder: Path) -> Path:
    return record.save(folder)


def truncated(path: Path) -> None:
    path.write_text(path.read_text()[:100])


def of_another_schema(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema": 99}))


def renamed_file(path: Path) -> None:
    path.rename(path.with_name("0123456789abcdef.json"))


@pytest.mark.parametrize("damage", [truncated, of_another_schema, renamed_file])
@pytest.mark.parametrize("side", ["old", "new"])
def test_files_that_cannot_be_read_are_not_left_out(tmp_path, damage, side):
    for folder in ("old", "new"):
        OTHER.save(tmp_path / folder)
        path = good().save(tmp_path / folder)
        if folder == side:
            damage(path)
    done = CliRunner().invoke(app, ["check", str(tmp_path / "new"), "--against", str(tmp_path / "old")])
    assert done.exit_code == 2
    assert "not comparable" in done.output


def test_command_line_of_several_baselines(tmp_path):
    from saebench_lite.cli.terminal import repeated

    words = ["check", "new", "--against", "a", "b", "--strict", "--allow", "1"]
    want = ["check", "new", "--against", "a", "--against", "b", "--strict", "--allow", "1"]
    assert repeated(words, "check", "--against") == repeated(want, "check", "--against") == want
    assert repeated(["run", "--against", "a", "b"], "check", "--against") == ["run", "--against", "a", "b"]
    for name, shift in (("new", 0.0), ("a", 0.01), ("b", -0.01), ("c", 0.02)):
        made_up("a", {"auroc": UNIT + shift}, seeds=(), fingerprint=name).save(tmp_path / name)
    words = ["check", str(tmp_path / "new")] + [w for n in "abc" for w in ("--against", str(tmp_path / n))]
    done = CliRunner().invoke(app, [*words, "--markdown", str(tmp_path / "m.md")])
    assert done.exit_code == 0, done.output
    assert "3 seeds" in (tmp_path / "m.md").read_text()
    assert "<details>" not in done.output
    assert CliRunner().invoke(app, [*words, "--allow", "0.0001", "--strict"]).exit_code == 3
    assert CliRunner().invoke(app, [*words, "--min-effect", "nan"]).exit_code == 2


def test_the_work_grows_with_the_records_and_not_with_their_pairs(monkeypatch):
    from saebench_lite.report import counterparts, evidence

    calls = {"noise": 0, "key": 0}

    def counted(name, function):
        def call(*arguments, **options):
            calls[name] += 1
            return function(*arguments, **options)

        return call

    monkeypatch.setattr(evidence, "metric_noise", counted("noise", evidence.metric_noise))
    monkeypatch.setattr(counterparts, "protocol_key", counted("key", counterparts.protocol_key))
    new, old = ([made_up(f"sae {i}", {"auroc": UNIT}, seeds=(), fingerprint=f) for i in range(50)] for f in "ab")
    assert len(check(new, old).findings) == 50
    assert calls == {"noise": 1, "key": 100}
