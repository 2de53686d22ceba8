"""The audit of planted causes: verdicts on made-up records, the page, and a run on a tiny world."""

# pyright: reportOptionalOperand=false, reportOperatorIssue=false
# Differences here have intervals.

import json
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from saebench_lite.audit import causes, causes_run
from saebench_lite.audit.causes import GROUPS, Step, judged, verdict
from saebench_lite.audit.causes_page import markdown
from saebench_lite.cli.main import app
from saebench_lite.records.metric import Better
from saebench_lite.worlds.spec import parse
from tests.helpers.record_factory import made_up

METRICS: dict[str, Better] = {"good": "higher", "loss": "lower", "wrong": "higher", "flat": "higher", "size": "neither"}
NAMES = {"oracle": "oracle", "a": "trained", "b": "trained", "soft": "soft-frozen", "random": "untrained"}
LEVEL = {"oracle": 3.0, "trained": 2.0, "soft-frozen": 1.0, "untrained": 0.0}
UNITS = 40


def records():
    """Five subjects of four groups; values are the group's level plus noise that is the subject's own."""
    out = []
    for i, (name, group) in enumerate(NAMES.items()):
        noise = np.random.default_rng(i).normal(0, 0.3, (UNITS, 2))
        level = LEVEL[group]
        swapped = {"trained": 1.0, "soft-frozen": 2.0}.get(group, level)
        values: dict[str, np.ndarray] = {
            "good": level + noise,
            "loss": -level + noise,
            "wrong": swapped + noise,
            "flat": noise,
            "size": noise,
        }
        kind = "oracle" if group == "oracle" else "control" if group == "untrained" else "sae"
        out.append(made_up(name, values, metrics=METRICS, seeds=(1, 2), kind=kind, headline=["wrong", "good"]))
    return out


def test_a_metric_ranks_does_not_or_is_open():
    rows = {r.metric: r for r in judged(records(), NAMES)}
    assert list(rows)[:2] == ["good", "wrong"]  # headlines first
    assert {m: r.verdict for m, r in rows.items()} == {
        "good": "ranks", "loss": "ranks", "wrong": "does not", "flat": "open"
    }  # fmt: skip
    assert rows["good"].units == UNITS
    assert rows["good"].in_order == 1
    assert rows["wrong"].in_order == pytest.approx(7 / 9)  # of nine pairs the two of trained and soft-frozen are wrong
    assert rows["loss"].means["oracle"] == pytest.approx(-3, abs=0.1)
    for step in rows["loss"].steps:
        assert step.difference == pytest.approx(1, abs=0.2)  # turned: above 0 is right
        assert step.low < step.difference < step.high
    (middle,) = (s for s in rows["wrong"].steps if s.above == "trained")
    assert middle.high < 0


@pytest.mark.parametrize(("units", "want"), [(11, "open"), (12, "ranks")])
def test_few_units_have_no_interval_and_leave_it_open(monkeypatch, units, want):
    monkeypatch.setattr(sys.modules[__name__], "UNITS", units)
    row = next(r for r in judged(records(), NAMES) if r.metric == "good")
    assert row.verdict == want
    assert {s.low is None for s in row.steps} == {s.high is None for s in row.steps} == {want == "open"}


def test_a_group_is_the_mean_of_its_saes_and_units_are_told_by_name():
    of = records()
    stored = of[2].per_unit["good"]
    turned = stored.__class__(units=stored.units[::-1], seeds=stored.seeds, values=stored.values[::-1])
    of[2].per_unit["good"] = turned
    again = next(r for r in judged(of, NAMES) if r.metric == "good")
    first = next(r for r in judged(records(), NAMES) if r.metric == "good")
    assert again == first
    both = np.mean([np.array(r.per_unit["good"].values).mean() for r in of if NAMES[r.subject.name] == "trained"])
    assert first.means["trained"] == pytest.approx(both, abs=1e-6)


def test_a_metric_that_a_group_lacks_is_not_judged_and_no_interval_decides_nothing():
    assert judged([r for r in records() if r.subject.name != "soft"], NAMES) == []
    up, none, down = Step("oracle", "trained", 1, 0.5, 2), Step("oracle", "trained", 1, None, None), (-1, -2, -0.5)
    assert verdict([up, up, up]) == "ranks"
    assert verdict([up, none, up]) == "open"
    assert verdict([up, none, Step("oracle", "trained", *down)]) == "does not"


def test_the_page_says_how_it_was_asked_and_what_came_out(tmp_path):
    trained = {n: g for n, g in NAMES.items() if g in ("trained", "soft-frozen")}
    failed = made_up("oracle", {}, task="ravel", kind="oracle", status="not_applicable", seeds=())
    found = causes_run.written([*records(), failed], trained, "tiny,causes=6", "the command", tmp_path)
    assert found.members == {
        "oracle": ["oracle"],
        "trained": ["a", "b"],
        "soft-frozen": ["soft"],
        "untrained": ["random"],
    }
    page = (tmp_path / "causes.md").read_text()
    assert page == markdown(found)
    assert "sums of 96 known features. 6 of them" in page
    assert "Of 2 these rank all four groups: sparse_probing good." in page
    assert "None of" not in page
    assert "- ravel: " in page
    stored = json.loads((tmp_path / "causes.json").read_text())
    assert {r["metric"]: r["verdict"] for r in stored["rows"]} == {r.metric: r.verdict for r in found.rows}
    assert stored["command"] == "the command"


def test_one_audit_at_a_time(tmp_path):
    got = CliRunner().invoke(app, ["audit", "--causes", "--doses", "--out", str(tmp_path / "x")])
    assert got.exit_code
    assert "--doses and --causes are different audits; give one of them" in got.output
    got = CliRunner().invoke(app, ["audit", "--doses", "--bf16"])
    assert got.exit_code == 2
    assert "--bf16 is for the panel's training; --doses has none of it, leave it out" in got.output


def test_causes_are_planted_where_the_name_has_none():
    assert causes_run.planted("small") == "small,causes=64"
    assert causes_run.planted("tiny,causes=3") == "tiny,causes=3"
    assert parse(causes_run.planted("secret-3101")).causes == 64
    assert set(causes_run.TASKS) <= set(causes_run.names())


def test_a_run_trains_the_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(causes_run, "ARCHITECTURES", ("topk",))
    monkeypatch.setattr(causes_run, "TEXTS", 1024)
    monkeypatch.setattr(causes_run, "names", lambda: ["causal_effect", "ravel"])
    monkeypatch.setitem(causes_run.SETTINGS, "causal_effect", {"blocks": 8, "concepts": 2})
    found = causes_run.run("tiny", tmp_path, steps=50, seeds=1, limit=4)
    assert [len(found.members[g]) for g in GROUPS] == [1, 1, 1, 1]
    assert found.members["soft-frozen"][0].endswith("_soft_decoder")
    assert found.truth["mcc_calibrated"]["oracle"] == pytest.approx(1)
    assert {r.task for r in found.rows} == {"causal_effect", "ravel"}
    assert {"log2_direction", "log2_ratio", "selectivity"} <= {r.metric for r in found.rows}
    assert not found.missing
    assert causes.VERDICTS.keys() == {"ranks", "does not", "open"}
