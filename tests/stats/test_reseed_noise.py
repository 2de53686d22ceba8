"""Reseed noise against scipy."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from saebench_lite.stats.reseed_noise import (
    coefficient_of_variation,
    pooled_sd,
    reliable_difference,
    reseed_noise,
    sample_sd,
)


def test_reliable_difference_is_where_the_t_test_says_five_percent():
    a, b = np.array([0.70, 0.73, 0.71]), np.array([0.60, 0.62, 0.65])
    noise = reseed_noise([a, b])
    assert noise is not None
    moved = b - b.mean() + a.mean() + noise.mrd
    _, p = scipy_stats.ttest_ind(a, moved)
    assert p == pytest.approx(0.05)
    assert (noise.df, noise.seeds) == (4, 3)
    assert noise.cv == pytest.approx(noise.sd / np.concatenate([a, b]).mean())


def test_published_multiples_of_the_sd():
    """t(0.975, 4) sqrt(2) = 3.93 for one run each with a spread from five; 2.27 for three runs each with df 4."""
    assert reliable_difference(1.0, 4, 1) == pytest.approx(3.93, abs=0.005)
    assert reliable_difference(1.0, 4, 3) == pytest.approx(2.27, abs=0.005)


def test_pooling_weighs_by_degrees_of_freedom():
    groups = [np.array([1.0, 2.0]), np.array([5.0, 5.0, 8.0]), np.array([9.0]), np.array([np.nan, 1.0])]
    s, df = pooled_sd(groups)
    assert df == 3
    assert s**2 == pytest.approx((groups[0].var(ddof=1) + 2 * groups[1].var(ddof=1)) / 3)


def test_one_seed_shows_no_noise():
    assert reseed_noise([np.array([0.4]), np.empty(0)]) is None
    assert sample_sd(np.array([0.4])) is None
    assert coefficient_of_variation(np.array([-1.0, 1.0])) is None
    assert coefficient_of_variation(np.array([-1.0, -3.0])) == pytest.approx(np.sqrt(2) / 2)
