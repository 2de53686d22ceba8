"""Intervals of tie-heavy comparisons: known answers and coverage by simulation."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from saebench_lite.stats.intervals import estimate
from saebench_lite.stats.win_rates import mean_gain, win_rate

SAME = 1e-9


def test_students_interval_where_most_tie_and_the_bootstraps_elsewhere():
    few = np.array([0.0] * 16 + [0.004, -0.001, 0.018, -0.002])[:, None]
    got = mean_gain(few, SAME)
    want = scipy_stats.t.interval(0.95, 19, few.mean(), scipy_stats.sem(few[:, 0]))
    assert (got.low, got.high) == pytest.approx(want)
    wide = estimate(few)
    assert wide.high is not None
    assert got.high is not None
    assert wide.high > 3 * got.high
    many = np.random.default_rng(0).normal(size=(20, 1))
    assert mean_gain(many, SAME) == estimate(many)


def test_all_ties_leave_a_point_for_the_gain_and_a_width_for_the_win_rate():
    got = mean_gain(np.zeros((12, 1)), SAME)
    assert (got.value, got.low, got.high) == (0.0, 0.0, 0.0)
    rate = win_rate(0, 12, 0)
    assert (rate.low, rate.high) == pytest.approx((0.5 - 1.96 / 28, 0.5 + 1.96 / 28), abs=1e-4)
    assert mean_gain(np.zeros((1, 1)), SAME).low is None


def test_units_without_a_value_do_not_count():
    few = np.array([0.0] * 8 + [0.1, 0.3])[:, None]
    assert mean_gain(np.vstack([few, [[np.nan]]]), SAME) == mean_gain(few, SAME)


def test_win_rate_by_hand_and_within_its_range():
    got = win_rate(7, 4, 1)
    error = np.sqrt((9 / 14 - (6 / 14) ** 2) / 14)
    assert got.value == 9 / 12
    assert (got.low, got.high) == pytest.approx((0.5 + 3 / 14 - 0.98 * error, 0.5 + 3 / 14 + 0.98 * error), abs=1e-4)
    assert win_rate(12, 0, 0).high == 1.0
    assert win_rate(0, 0, 12).low == 0.0


@pytest.mark.parametrize("ties", [0.5, 0.7])
def test_coverage_of_the_mean(ties):
    g, n, mean = np.random.default_rng(0), 20, 0.003
    found = []
    for _ in range(400):
        table = np.where(g.random(n) < ties, 0.0, g.normal(mean, 0.01, n))
        found.append(mean_gain(table[:, None], SAME)[1:3])
    low, high = np.array(found).T
    truth = (1 - ties) * mean
    assert 0.9 < ((low <= truth) & (truth <= high)).mean() < 0.98
    assert np.quantile(high - low, 0.95) < 2 * np.median(high - low)


@pytest.mark.parametrize(("win", "tie"), [(0.25, 0.5), (0.1, 0.8), (0.6, 0.1)])
def test_coverage_of_the_win_rate(win, tie):
    tables = np.random.default_rng(0).multinomial(12, [win, tie, 1 - win - tie], size=1000)
    inside = [r.low <= win + tie / 2 <= r.high for r in (win_rate(*map(int, t)) for t in tables)]
    assert np.mean(inside) > 0.92
