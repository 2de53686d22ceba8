"""The bootstrap and the seeds."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from saebench_lite.stats import derive_seed, estimate, rng, weighted_mean


def test_seeds_follow_names_only():
    assert derive_seed("split", 1) == derive_seed("split", 1) != derive_seed("split", 2)
    assert derive_seed("ab", "c") != derive_seed("a", "bc")
    assert rng("x").integers(1 << 30) == rng("x").integers(1 << 30)


def test_pooled_ratio_is_the_weighted_mean_of_ratios():
    top, bottom = np.array([3.0, 1.0, 8.0]), np.array([4.0, 5.0, 10.0])
    assert weighted_mean(top / bottom, bottom) == pytest.approx(top.sum() / bottom.sum())
    assert np.isnan(weighted_mean(np.array([np.nan]), np.array([1.0])))


def test_interval_agrees_with_scipys_percentile_bootstrap():
    values = np.random.default_rng(0).gamma(2.0, size=(60, 1))
    ours = estimate(values, draws=4000)
    theirs = scipy_stats.bootstrap((values[:, 0],), np.mean, method="percentile", n_resamples=4000, rng=1)
    assert ours.value == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.confidence_interval.low, rel=0.03)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, rel=0.03)


def test_interval_covers_the_truth():
    """Units with a spread of 1 and seeds with a spread of 0.5: about 95 % of intervals hold the true mean."""
    hits = 0
    for trial in range(200):
        draw = np.random.default_rng(trial)
        values = draw.normal(size=(40, 1)) + 0.5 * draw.normal(size=(40, 3))
        got = estimate(values, draws=400, seed=trial)
        assert got.low is not None
        assert got.high is not None
        hits += got.low <= 0 <= got.high
    assert 0.89 <= hits / 200 <= 0.99


def test_missing_cells_and_single_units():
    got = estimate(np.array([[1.0, np.nan], [3.0, 3.0], [np.nan, np.nan]]))
    assert got.n == 2
    assert got.value == pytest.approx(7 / 3)
    alone = estimate(np.array([[0.4, 0.6]]))
    assert (alone.low, alone.high, alone.n) == (None, None, 1)
    assert alone.per_seed == (0.4, 0.6)
