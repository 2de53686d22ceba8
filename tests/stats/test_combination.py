"""The Cauchy combination of p-values: against scipy, by simulation, and by hand."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from saebench_lite.stats.combination import cauchy_combination


def test_it_is_the_tail_of_a_mean_of_cauchy_variables():
    p = np.array([0.3, 0.001, 0.7, 0.04])
    want = scipy_stats.cauchy.sf(scipy_stats.cauchy.isf(p).mean())
    assert cauchy_combination(p) == pytest.approx(want)
    assert cauchy_combination(p[::-1]) == pytest.approx(want)


@pytest.mark.parametrize("p", [1e-9, 0.03, 0.5, 0.9])
def test_equal_ones_stay_what_they_are(p):
    assert cauchy_combination(np.full(5, p)) == pytest.approx(p, rel=1e-5)


def test_one_small_among_many_costs_a_factor_and_small_ones_add_up():
    alone = cauchy_combination(np.array([1e-4, *[0.5] * 9]))
    assert alone == pytest.approx(1e-3, rel=0.01)
    assert cauchy_combination(np.array([1e-4, 1e-4, *[0.5] * 8])) == pytest.approx(alone / 2, rel=0.01)


def test_zero_and_one_do_not_break_it():
    assert cauchy_combination(np.array([0.0, 1.0])) < 1e-12
    assert cauchy_combination(np.array([0.001, 1.0])) < 0.0025


@pytest.mark.parametrize("shared", [0.0, 0.5, 0.95])
def test_the_level_holds_for_correlated_p_values(shared):
    draw = np.random.default_rng(3)
    z = np.sqrt(shared) * draw.normal(size=(8000, 1)) + np.sqrt(1 - shared) * draw.normal(size=(8000, 10))
    combined = [cauchy_combination(p) for p in 2 * scipy_stats.norm.sf(np.abs(z))]
    assert np.mean(np.array(combined) <= 0.05) == pytest.approx(0.05, abs=0.012)
