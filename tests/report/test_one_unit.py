"""A single labelled data set: intervals, comparisons, checks and control marks over its texts."""

import numpy as np
import pytest
import scipy.stats

from saebench_lite.records.types import Kind
from saebench_lite.records.verdicts import Verdicts
from saebench_lite.report.compare import compare
from saebench_lite.report.compare_text import to_text
from saebench_lite.report.group_sentences import sentences
from saebench_lite.report.leaderboard import leaderboard_text, tables
from saebench_lite.report.numbers import ends
from saebench_lite.report.ranking import rank_metric
from saebench_lite.report.regression import check
from saebench_lite.report.terminal_table import narrow
from tests.helpers.record_factory import made_up


def one(name: str, value: float, error: float | None = 0.02, spread: float = 0.001, **other):
    """A record of one unit under three seeds."""
    table = np.array([[value - spread, value, value + spread]])
    errors = None if error is None else {"auroc": np.full_like(table, error)}
    return made_up(name, {"auroc": table}, errors=errors, **other)


TABLE = [
    one("good", 0.8),
    one("poor", 0.52),
    one("random_topk", 0.5, kind="control"),
    one("logistic", 0.95, kind="baseline"),
]


def test_compare_tests_over_texts_with_both_errors():
    rows, _ = compare(TABLE, TABLE, "good", "poor")
    (row,) = rows
    z = 0.28 / np.hypot(0.02, 0.02)
    assert row.paired.p == pytest.approx(2 * scipy.stats.norm.sf(z), rel=1e-6)
    assert row.paired.low == pytest.approx(0.28 - 1.959964 * np.hypot(0.02, 0.02))
    assert "taken as independent" in to_text(rows, [], "good", "poor")
    without = [one("good", 0.8, None), one("poor", 0.52, None)]
    rows, _ = compare(without, without, "good", "poor")
    assert rows[0].paired.p is None
    text = to_text(rows, [], "good", "poor")
    assert "independent" not in text
    assert "One unit without a standard error over test texts, or none, is too few for an interval and a test." in text
    assert text.endswith("undecided in 0 (Holm, 5 %); 1 not tested (too few units).\n")


@pytest.mark.parametrize(("after", "verdict"), [(0.6, "worse"), (0.78, "ok"), (0.95, "better")])
def test_check_judges_one_unit(after, verdict):
    result = check([one("good", after)], [one("good", 0.8)])
    assert [f.verdict for f in result.findings] == [verdict]
    untested = check([one("good", after, None)], [one("good", 0.8, None)])
    assert [f.verdict for f in untested.findings] == ["not tested"]


def test_control_marks_and_sentences_of_one_unit():
    ranking = rank_metric(TABLE, "auroc")
    assert ranking.of["good"].above_control is True
    assert ranking.of["poor"].above_control is False
    assert ranking.of["good"].control == "random_topk"
    told = sentences(TABLE, "auroc")
    by = "by sparse_probing auroc"
    assert told[0].startswith(
        f"good against the best random control (random_topk) {by}: +0.300 [0.245, 0.355], p <0.001 (one-sided"
    )
    assert told[1].startswith(
        f"good against the best baseline (logistic) {by}: -0.150 [-0.205, -0.095], p <0.001 (one-sided"
    )
    assert "independent" in told[2]
    plain = [one(r.subject.name, 0.5, None, kind=r.subject.kind) for r in TABLE]
    assert sentences(plain, "auroc") == []
    assert rank_metric(plain, "auroc").of["good"].above_control is None


def test_equal_subjects_are_seldom_told_apart():
    draw = np.random.default_rng(0)
    marks = []
    for _ in range(400):
        a, b = draw.normal(0.6, 0.02, 2)
        records = [one("a", a), one("random_topk", b, kind="control")]
        marks.append(rank_metric(records, "auroc").of["a"].above_control)
    assert 0.02 < np.mean(marks) < 0.085


def test_the_leaderboard_says_what_its_intervals_are_over():
    text = leaderboard_text(TABLE)
    assert "0.800 [0.761, 0.839]" in text
    assert "auroc: 1 unit (intervals over its test texts), 3 seeds" in text
    assert "sd over test texts 0.020" in text
    assert "tests over the texts of the one unit" in text
    several = made_up("a", {"auroc": np.array([[0.5, 0.6], [0.7, 0.8]])}, seeds=(1, 2))
    assert "intervals over their test texts" not in leaderboard_text([several])


def test_the_sentence_on_the_baseline_is_asked_as_the_mark_is():
    """z = 1.83: .034 one-sided, .067 two-sided."""
    table = [one("sae", 0.5, 0.03), one("logistic", 0.5778, 0.03, kind="baseline")]
    assert rank_metric(table, "auroc").of["sae"].below_baseline is True
    (told, _) = sentences(table, "auroc")
    assert told.endswith("p 0.033 (one-sided)")
    above = [one("sae", 0.5778, 0.03), one("logistic", 0.5, 0.03, kind="baseline")]
    assert sentences(above, "auroc")[0].endswith("p 0.067 (two-sided)")


def test_the_legend_names_the_control_that_was_asked():
    for name, word in (("random_topk", "control"), ("matched_random of good", "dictionary of its width and L0")):
        table = [one("good", 0.8), one(name, 0.5, kind="control")]
        text = " ".join(narrow(tables(table, Verdicts({}))[0], 100).split())
        assert f"+: better than a random {word}" in text


def test_notes_of_few_units():
    """Why there is no interval and no scale, and at which level marks are asked."""
    assert "No interval stands where" in leaderboard_text([one("a", 0.8, None)])
    assert "No interval stands where" not in leaderboard_text([one("a", 0.8)])
    kinds: dict[str, tuple[Kind, float]] = {
        "a": ("sae", 0.7),
        "random_topk": ("control", 0.5),
        "logistic": ("baseline", 0.9),
    }
    few, many = [], []
    for name, (kind, value) in kinds.items():
        errors = {"auroc": np.full((3, 1), 0.031)}
        few.append(made_up(name, {"auroc": value + np.zeros((3, 1))}, errors=errors, kind=kind, seeds=()))
        spread = np.linspace(0, 0.01, 12)[:, None] * (1 + value)
        many.append(made_up(name, {"auroc": value + spread}, kind=kind, seeds=()))
    assert "No calibrated score of sparse_probing auroc: fewer than 12 units" in leaderboard_text(few)
    assert [float(f"{end:.9g}") for end in ends(few[0], "auroc") if end is not None] == list(ends(few[0], "auroc"))
    assert "Holm over the SAEs, at 5 %" in leaderboard_text(TABLE)
    assert "step-down over the SAEs, at a nominal 3 %" in leaderboard_text(many)
