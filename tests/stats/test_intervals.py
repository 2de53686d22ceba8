"""Seeds, weighted means and their intervals."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from saebench_lite.stats.intervals import (
    collapse,
    estimate,
    influence,
    interval,
    resample_counts,
    standard_error,
    too_alike,
    weighted_mean,
)
from saebench_lite.stats.seeds import derive_seed, rng

DRAWS = 1000


def test_seeds_follow_names_only():
    assert derive_seed("split", 1) == derive_seed("split", 1) != derive_seed("split", 2)
    assert derive_seed("ab", "c") != derive_seed("a", "bc")
    assert rng("x").integers(1 << 30) == rng("x").integers(1 << 30)


def test_pooled_ratio_is_the_weighted_mean_of_ratios():
    top, bottom = np.array([3.0, 1.0, 8.0]), np.array([4.0, 5.0, 10.0])
    assert weighted_mean(top / bottom, bottom) == pytest.approx(top.sum() / bottom.sum())
    assert np.isnan(weighted_mean(np.array([np.nan]), np.array([1.0])))


def test_collapsing_seeds_keeps_the_mean():
    draw = np.random.default_rng(0)
    values, weights = draw.normal(size=(9, 3)), draw.gamma(2.0, size=(9, 3))
    values[2, 1], values[4] = np.nan, np.nan
    x, w = collapse(values, weights)
    assert np.isnan(x[4])
    assert weighted_mean(x, w) == pytest.approx(weighted_mean(values, weights))


def test_standard_error_is_the_jackknife_by_hand():
    draw = np.random.default_rng(1)
    x, w = draw.normal(size=7), draw.gamma(2.0, size=7)
    without = np.array([np.average(np.delete(x, i), weights=np.delete(w, i)) for i in range(7)])
    shift = np.average(x, weights=w) - without
    assert influence(x, w) == pytest.approx(6 * shift)
    assert standard_error(x, w) == pytest.approx(np.sqrt(6 / 7 * (shift**2).sum()))
    assert standard_error(x, np.ones(7)) == pytest.approx(scipy_stats.sem(x))


def test_interval_is_the_bootstrap_t_of_a_loop():
    draw = np.random.default_rng(2)
    x, w = draw.gamma(2.0, size=20), draw.gamma(4.0, size=20)
    mean, ts = np.average(x, weights=w), []
    for counts in resample_counts(20, 300, 5):
        i = np.repeat(np.arange(20), counts.astype(int))
        again = np.average(x[i], weights=w[i])
        error = np.sqrt(20 / 19 * ((w[i] * (x[i] - again)) ** 2).sum()) / w[i].sum()
        ts.append((again - mean) / error)
    low, high = np.quantile(ts, [0.025, 0.975])
    error = standard_error(x, w)
    assert interval(x, w, draws=300, seed=5) == pytest.approx((mean - high * error, mean - low * error))


def test_few_units_and_flat_resamples_get_students_interval():
    for x in (np.array([1.0, 2.0, 4.0]), np.eye(12)[0]):
        want = scipy_stats.t.interval(0.95, len(x) - 1, x.mean(), scipy_stats.sem(x))
        assert interval(x, np.ones(len(x))) == pytest.approx(want)
    assert interval(np.full(9, 0.3), np.ones(9)) == pytest.approx((0.3, 0.3))


def simulated(kind: str, units: int, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    """Values and weights [units, 3 seeds] with unit effects and seeds inside, and the true mean."""
    shape = (units, 3)
    if kind == "normal":
        return draw.normal(size=(units, 1)) + 0.5 * draw.normal(size=shape), np.ones(shape), 0.0
    if kind == "skewed":  # like 1 - AUROC
        unit = draw.beta(1.0, 9.0, size=(units, 1))
        return draw.beta(30 * unit + 1e-9, 30 * (1 - unit), size=shape), np.ones(shape), 0.1
    bottom = draw.gamma(8.0, size=(units, 1))
    top = 0.3 * bottom * draw.gamma(10.0, 0.1, size=(units, 1)) * (1 + 0.1 * draw.normal(size=shape))
    return top / bottom, np.repeat(bottom, 3, axis=1), 0.3


@pytest.mark.parametrize("units", [8, 12, 30, 113])
@pytest.mark.parametrize("kind", ["normal", "skewed", "ratio"])
def test_interval_covers_the_truth(kind, units):
    """93 to 97 % of the intervals of 1,000 simulated tables hold the true mean."""
    hits = 0
    for trial in range(DRAWS):
        values, weights, truth = simulated(kind, units, np.random.default_rng([trial, units]))
        got = estimate(values, weights)
        assert got.low is not None
        assert got.high is not None
        hits += got.low <= truth <= got.high
    assert 0.93 <= hits / DRAWS <= 0.97, hits


def test_seeds_within_units_are_not_counted_twice():
    """With seed noise alone the interval is as wide as Student's on unit means, not sqrt(2) times it."""
    widths = []
    for trial in range(50):
        values = np.random.default_rng(trial).normal(size=(40, 3))
        got, x = estimate(values), values.mean(1)
        low, high = scipy_stats.t.interval(0.95, 39, x.mean(), scipy_stats.sem(x))
        assert got.low is not None
        assert got.high is not None
        widths.append((got.high - got.low) / (high - low))
    assert np.mean(widths) == pytest.approx(1, abs=0.05)


def test_missing_cells_and_single_units():
    got = estimate(np.array([[1.0, np.nan], [3.0, 3.0], [np.nan, np.nan]]))
    assert got.n == 2
    assert got.value == pytest.approx(7 / 3)
    alone = estimate(np.array([[0.4, 0.6]]))
    assert (alone.low, alone.high, alone.n) == (None, None, 1)
    assert alone.per_seed == (0.4, 0.6)


@pytest.mark.parametrize(
    ("units", "equal", "alike"),
    [
        (2, 1, False),
        (3, 1, False),
        (12, 3, False),
        (12, 4, True),
        (20, 6, False),
        (20, 7, True),
        (29, 9, True),
        (30, 30, False),
    ],
)
def test_too_few_and_too_alike_units_are_told(units, equal, alike):
    x = np.random.default_rng(units).random(units)
    x[:equal] = x[0] * (1 + 1e-8 * np.arange(equal))
    assert too_alike(x) is alike
    assert too_alike(7 * x[::-1]) is alike
    assert not too_alike(np.empty(0))


def test_a_symmetric_interval_is_the_quantile_of_the_absolute_statistic():
    x = np.random.default_rng(0).exponential(size=25)
    low, high = interval(x, np.ones(25), symmetric=True)
    counts = resample_counts(25, 1000).astype(int)
    drawn = [np.repeat(x, c) for c in counts]
    t = [(d.mean() - x.mean()) / (d.std(ddof=1) / 5) for d in drawn]
    half = np.quantile(np.abs(t), 0.95) * x.std(ddof=1) / 5
    assert (low, high) == pytest.approx((x.mean() - half, x.mean() + half))
    asymmetric = interval(x, np.ones(25))
    assert asymmetric[1] - x.mean() > x.mean() - asymmetric[0]
