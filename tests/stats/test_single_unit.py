"""Intervals and tests of one unit from the standard errors of its values."""

import numpy as np
import pytest
import scipy.special
import scipy.stats

from saebench_lite.stats.single_unit import difference_over_texts, interval_over_texts, mean_error


def test_the_error_of_a_mean_over_seeds_is_the_mean_of_the_known_errors():
    assert mean_error(np.array([0.01, np.nan, 0.03])) == pytest.approx(0.02)
    assert mean_error(np.array([np.nan, np.nan])) is None
    assert mean_error(np.zeros(3)) is None  # all texts judged alike: too few to show an error
    assert mean_error(np.empty(0)) is None


def test_interval_between_bounds_is_normal_on_the_logit_scale():
    value, error = 0.9, 0.05
    centre, spread = scipy.special.logit(value), error / (value * (1 - value))
    want = scipy.special.expit(scipy.stats.norm.interval(0.95, centre, spread))
    assert interval_over_texts(value, error, (0.0, 1.0)) == pytest.approx(want)
    shifted = interval_over_texts(8 * value - 3, 8 * error, (-3.0, 5.0))
    assert shifted == pytest.approx(8 * np.array(want) - 3)  # follows a change of unit


def test_interval_without_two_bounds_or_at_one_is_cut_there():
    assert interval_over_texts(3.0, 1.0) == pytest.approx(scipy.stats.norm.interval(0.95, 3, 1))
    assert interval_over_texts(0.5, 1.0, (0.0, None)) == pytest.approx((0.0, 0.5 + 1.959964))
    assert interval_over_texts(1.0, 0.1, (0.0, 1.0)) == pytest.approx((1 - 0.1959964, 1.0))


def test_difference_is_a_z_test():
    got = difference_over_texts(0.1, 0.03, 0.04)
    z = 0.1 / 0.05
    assert got.p == pytest.approx(2 * scipy.stats.norm.sf(z))
    assert got.p_above == pytest.approx(scipy.stats.norm.sf(z))
    assert (got.low, got.high) == pytest.approx(scipy.stats.norm.interval(0.95, 0.1, 0.05))
    turned = difference_over_texts(-0.1, 0.04, 0.03)
    assert (turned.low, turned.high, turned.p) == pytest.approx((-got.high, -got.low, got.p))
    assert turned.p_above == pytest.approx(1 - got.p_above)


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_intervals_of_a_share_cover_it(share):
    draw = np.random.default_rng(0)
    found = draw.binomial(200, share, size=2000) / 200
    ends = np.array([interval_over_texts(x, np.sqrt(x * (1 - x) / 200), (0.0, 1.0)) for x in found])
    assert ((ends[:, 0] <= share) & (share <= ends[:, 1])).mean() == pytest.approx(0.95, abs=0.015)
