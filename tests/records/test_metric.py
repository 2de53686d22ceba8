"""Directions: one rule for tables, comparisons and the audit."""

import numpy as np
import pytest

from saebench_lite import registry
from saebench_lite.audit.scores import signed_score
from saebench_lite.errors import SaebenchError
from saebench_lite.records.arrays import oriented, unit_scores
from saebench_lite.records.metric import Metric, higher_is_better
from saebench_lite.records.summary import metric_score
from tests.helpers.record_factory import made_up


@pytest.mark.parametrize(
    ("better", "values", "expected"),
    [
        ("higher", [0.9, 1.2], [0.9, 1.2]),
        ("lower", [0.9, 1.2], [-0.9, -1.2]),
        ("one", [0.9, 1.2], [0.1, -0.2]),
        ("one", [0.7, 1.1], [-0.3, 0.1]),
    ],
)
def test_higher_is_better_and_the_spread_stays(better, values, expected):
    got = higher_is_better(np.array(values), better, float(np.mean(values)))
    assert got is not None
    assert got == pytest.approx(np.array(expected))
    assert np.std(got) == pytest.approx(np.std(values))
    if better == "one":
        assert got.mean() == pytest.approx(-abs(np.mean(values) - 1))


def test_no_direction():
    assert higher_is_better(np.ones(2), "neither", 1.0) is None


def test_audit_and_comparison_turn_a_metric_the_same_way():
    """Seeds on both sides of 1: folding each about 1 on its own would hide their spread."""
    record = made_up("a", {"ratio": np.array([[0.9, 1.2, 1.0], [0.9, 1.2, 1.0]])})
    named = unit_scores(record, "ratio")
    assert named is not None
    scores = oriented(named.scores, "one")
    assert scores is not None
    got = signed_score(record, "ratio")
    assert got.per_seed == pytest.approx(scores.values.mean(0))
    assert got.value == pytest.approx(scores.values.mean())
    assert np.std(got.per_seed) == pytest.approx(np.std([0.9, 1.2, 1.0]))


def test_summary_names_direction_unit_bounds_and_chance():
    share = Metric(name="a", meaning="m", better="higher", lower_bound=0.0, upper_bound=1.0, chance=0.5)
    assert share.summary() == "higher, 0 to 1, chance 0.5"
    assert (
        Metric(name="a", meaning="m", better="lower", unit="nats", lower_bound=0.0).summary()
        == "lower, nats, at least 0"
    )
    assert Metric(name="a", meaning="m", better="one", upper_bound=2.5).summary() == "one, at most 2.5"
    claim = Metric(name="a", meaning="m", better="higher", construct="fidelity")
    assert claim.summary() == "higher, fidelity"


def test_every_metric_of_the_suite_says_what_it_claims():
    tasks = {n: t for n, t in registry.get_all("tasks").items() if registry.owner("tasks", n)[0] == "saebench-lite"}
    assert len(tasks) >= 8
    assert [f"{n} {m.name}" for n, t in tasks.items() for m in t.card.metrics if m.construct is None] == []


def test_intervals_end_at_the_bounds_and_figures_outside_are_refused():
    share = Metric(name="share", meaning="m", better="higher", lower_bound=0.0, upper_bound=1.0)
    free = Metric(name="free", meaning="m", better="higher")
    values = np.array([[0.0], [1.0], [0.9]])
    wide, cut = (metric_score(values, np.ones_like(values), m) for m in (free, share))
    assert wide is not None
    assert cut is not None
    assert wide.low is not None
    assert wide.high is not None
    assert wide.low < 0
    assert wide.high > 1
    assert (cut.value, cut.low, cut.high, cut.n) == (wide.value, 0.0, 1.0, 3)
    with pytest.raises(SaebenchError, match=r"'share' came out as 1\.2\d*, outside \[0\.0, 1\.0\]"):
        metric_score(np.full((2, 1), 1.25), np.ones((2, 1)), share)
    assert metric_score(np.full((2, 1), np.nan), np.ones((2, 1)), share) is None
