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
    sampling_sd,
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


def test_seeds_that_agree_to_all_digits_drew_nothing():
    same = reseed_noise([np.full(3, 0.172901234), np.full(3, 0.1)])
    assert same is not None
    assert not same.drawn
    assert (same.sd, same.mrd) == (0.0, 0.0)
    one_moves = reseed_noise([np.full(3, 0.1), np.array([0.1, 0.1, 0.100000001])])
    assert one_moves is not None
    assert one_moves.drawn
    assert sample_sd(np.full(3, 0.172901234)) == 0.0


def test_sampling_noise_is_that_of_a_drawn_mean():
    draw = np.random.default_rng(0)
    errors, w = draw.random(20), draw.gamma(2.0, size=20)
    means = np.average(errors * draw.normal(size=(20_000, 20)), axis=1, weights=w)
    assert sampling_sd(errors, w) == pytest.approx(means.std(), rel=0.03)
    assert sampling_sd(np.array([0.3, np.nan]), np.ones(2)) == pytest.approx(0.3)
    assert np.isnan(sampling_sd(np.array([np.nan]), np.ones(1)))


def test_reseeding_and_sampling_add_in_squares():
    groups = [np.array([0.70, 0.73, 0.71]), np.array([0.60, 0.62, 0.65])]
    alone, both = reseed_noise(groups), reseed_noise(groups, sampling=[0.03, 0.04])
    assert alone is not None
    assert both is not None
    texts = np.sqrt((0.03**2 + 0.04**2) / 2)
    assert both.sampling == pytest.approx(texts)
    assert both.mrd**2 == pytest.approx(alone.mrd**2 + (1.959964 * np.sqrt(2) * texts) ** 2)
    still = reseed_noise([np.full(3, 0.2)], sampling=[0.018 / np.sqrt(2)])
    assert still is not None
    assert still.mrd == pytest.approx(1.959964 * 0.018)
    assert not still.drawn
