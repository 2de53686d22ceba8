"""Verdicts from hand-made records whose right answer is known, and the page made of them."""

import dataclasses

import numpy as np
import pytest
from scipy import stats as reference

from saebench_lite.audit import judge, page, run
from saebench_lite.audit.constructs import Interval
from saebench_lite.audit.roles import roles_of
from saebench_lite.audit.scores import noise_sd, signed_score
from saebench_lite.stats.intervals import standard_error
from tests.helpers.audit_records import ARCHITECTURES, LEVELS, probing_records, record, records
from tests.helpers.record_factory import made_up


@pytest.fixture(scope="module")
def rows():
    return {r.metric: r for r in judge.judged(records())}


@pytest.mark.parametrize("metric", ["equal", "error", "ratio"])
def test_a_metric_equal_to_the_truth_follows_it_whatever_its_direction(rows, metric):
    row = rows[metric]
    assert (row.verdict, row.evidence) == ("follows", None)
    assert row.within == pytest.approx((1, 1, 1))
    assert all(of.value == pytest.approx(1) for of in row.by_truth.values())
    assert row.growth == pytest.approx(1)
    assert row.above_control == 1
    assert row.oracle_first


def test_a_metric_that_is_l0_does_not_follow_although_it_goes_with_l0(rows):
    row = rows["sparsity"]
    assert row.with_l0 == pytest.approx(1)
    assert row.within == (0, 0, 0)
    assert row.verdict == "does not"


def test_what_runs_against_the_truth_does_not_follow_and_noise_is_not_said_to(rows):
    assert rows["reversed"].verdict == "does not"
    assert rows["reversed"].within.value == pytest.approx(-1)
    assert not rows["reversed"].oracle_first
    assert rows["reversed"].above_control == 0
    assert rows["noise"].verdict in ("open", "does not")
    assert rows["noise"].within.low < 0.5


def test_what_does_not_claim_recovery_is_not_judged_by_it(rows):
    assert (rows["fidelity"].verdict, rows["fidelity"].evidence) == (None, "yes")
    assert (rows["size"].verdict, rows["size"].evidence) == (None, "no")
    assert "count" not in rows


def test_an_interval_across_the_bar_leaves_the_answer_open():
    assert judge.answer(Interval(0.9, 0.51, 1.0)) == "follows"
    assert judge.answer(Interval(0.9, 0.5, 1.0)) == "open"
    assert judge.answer(Interval(0.1, -0.2, 0.49)) == "does not"
    assert judge.answer(Interval(0.9, float("nan"), float("nan"))) == "open"


def test_power_is_spread_over_levels_and_over_architectures_in_noise(rows):
    scored = {r.subject.name: r.scores["equal"] for r in records() if r.task.name == "task"}
    grid = [[scored[f"{a}_l0_{level}"] for a in ARCHITECTURES] for level in LEVELS]
    noise = np.sqrt(np.mean([np.var(s.per_seed, ddof=1) for row in grid for s in row]))
    values = np.array([[s.value for s in row] for row in grid])
    span = scored["oracle"].value - np.mean([s.value for n, s in scored.items() if n.startswith("matched_random")])
    assert rows["equal"].noise == pytest.approx(noise / span)
    assert rows["equal"].power == pytest.approx(np.sqrt(values.var(0, ddof=1).mean()) / noise)
    assert rows["equal"].resolves == pytest.approx(np.sqrt(values.var(1, ddof=1).mean()) / noise)


def test_the_order_of_records_and_monotone_scores_change_no_correlation(rows):
    kept = ("equal", "noise", *judge.TRUTHS, "l0")
    bent = []
    for r in reversed(records()):
        values = {m: np.array(s.per_seed) for m, s in r.scores.items() if m in kept}
        curved = {m: v if m == "l0" else np.exp(3 * v) for m, v in values.items()}
        if curved:
            bent.append(record(r.task.name, r.subject.name, r.subject.meta, curved, r.subject.kind))
    got = {r.metric: r for r in judge.judged(bent)}
    for metric in ("equal", "noise"):
        assert got[metric].within == rows[metric].within
        assert got[metric].by_truth == rows[metric].by_truth
        assert got[metric].with_l0 == pytest.approx(rows[metric].with_l0)


def test_an_architecture_without_a_score_is_left_out_and_two_are_too_few():
    def scored(without):
        rows = [r for r in records() if r.task.name != "task" or r.subject.name not in without]
        return {r.metric: r for r in judge.judged(rows)}

    assert scored(["a_l0_4"])["equal"].verdict == "follows"
    assert "equal" not in scored(["a_l0_4", "b_l0_8", "c_l0_8"])


def test_roles():
    roles = roles_of(records())
    assert roles.levels == list(LEVELS)
    assert roles.grid == {a: [f"{a}_l0_{level}" for level in LEVELS] for a in ARCHITECTURES}
    assert roles.controls == {n: f"matched_random of {n}" for n in roles.trained}
    assert roles.trajectories == [["e_l0_8@0.0", "e_l0_8@0.1", "e_l0_8@0.5", "e_l0_8"]]
    assert roles.off_level == {}
    fewer = [r for r in records() if r.subject.name != "b_l0_16"]
    assert list(roles_of(fewer).grid) == ["a", "c", "d", "e"]


def test_an_sae_that_missed_its_l0_is_at_no_level_and_the_page_says_so():
    def at(l0: float):
        meta = next(r.subject.meta for r in records() if r.subject.name == "b_l0_16")
        kept = [r for r in records() if (r.subject.name, r.task.name) != ("b_l0_16", "reconstruction")]
        return [*kept, record("reconstruction", "b_l0_16", meta, {"l0": [l0]}, "sae")]

    assert list(roles_of(at(19.9)).grid) == list(ARCHITECTURES)
    for l0 in (20.1, 12.7, 0.0):
        roles = roles_of(at(l0))
        assert list(roles.grid) == ["a", "c", "d", "e"]
        assert roles.off_level == {"b_l0_16": l0}
    rows = judge.judged(at(36.3))
    text = page.markdown(rows, judge.panel_of(at(36.3)), [], "small", "saebench-lite audit")
    assert "for their L0 is not the one asked for: b_l0_16 (36.3)." in text


def test_noise_without_seeds_is_the_standard_error_over_units_whatever_the_interval():
    r = np.random.default_rng(5)
    values = r.gamma(0.5, size=(9, 1))
    clipped = made_up("a", {"auroc": values}, seeds=())
    clipped.scores["auroc"] = dataclasses.replace(clipped.scores["auroc"], high=1.0)
    assert signed_score(clipped, "auroc").error == pytest.approx(reference.sem(values[:, 0]))
    assert signed_score(made_up("a", {"auroc": values[:1]}, seeds=()), "auroc").error is None
    weights = r.gamma(2.0, size=(9, 1))
    weighted = signed_score(made_up("a", {"delta": values}, seeds=(), weights=weights), "delta")
    assert weighted.value == pytest.approx(-np.average(values, weights=weights))
    assert weighted.error == pytest.approx(standard_error(values[:, 0], weights[:, 0]))
    agreeing = signed_score(made_up("a", {"auroc": values.repeat(2, 1)}, seeds=(1, 2)), "auroc")
    assert noise_sd([agreeing]) == pytest.approx(reference.sem(values[:, 0]))
    assert noise_sd([]) is None


def test_what_tables_show_stands_in_the_first_table_and_no_headline_is_made_of_it():
    shown = [dataclasses.replace(r, task=dataclasses.replace(r.task, headline=[], beside=("size",))) for r in records()]
    rows = {r.metric: r for r in judge.judged(shown)}
    assert (rows["size"].headline, rows["size"].shown) == (False, True)
    assert rows["size"] in page.shown(list(rows.values()))
    assert not any(r.shown for m, r in rows.items() if m != "size")


def test_leads_and_page():
    rows = judge.judged(probing_records())
    of = judge.panel_of(probing_records())
    [lead] = judge.headline_leads(rows, of)
    assert lead.rival == "sparse_probing auroc_k1_mean"
    assert lead.composite == lead.mcc == pytest.approx((2, 2, 2))
    assert judge.headline_leads(judge.judged(records()), of) == []
    text = page.markdown(rows, of, [lead], "hand-made", "the command")
    lines = text.splitlines()
    assert "15 SAEs were trained: 5 architectures (a, b, c, d, e)" in lines
    assert "The headline sparse_probing average_precision_max has 1.00 [1.00, 1.00]: follows." in lines
    assert "Beyond the interval it is ahead of sparse_probing auroc_k1_mean and behind none." in lines
    assert max(map(len, lines[: lines.index("## How it was asked")])) <= 120
    assert "Command: `the command`." in lines


def test_what_is_written_holds_no_nan(tmp_path):
    assert run.finite({"a": [float("nan"), (1.0, 2)], "b": "c"}) == {"a": [None, [1.0, 2]], "b": "c"}
    rows = run.written(probing_records(), "hand-made", "the command", tmp_path)
    assert {r.metric for r in rows} >= {"average_precision_max", "sparsity"}
    assert "NaN" not in (tmp_path / "audit.json").read_text()
    assert (tmp_path / "audit.md").read_text().startswith("# Metrics on trained SAEs of the world hand-made")
