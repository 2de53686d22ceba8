"""Paired comparisons and the adjustment of p-values."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from saebench_lite.stats.bootstrap_t import bootstrap_p
from saebench_lite.stats.paired import (
    UnitScores,
    benjamini_hochberg,
    contributions,
    first_of_each,
    holm,
    paired,
    permutation_p,
    pseudo_values,
)


def cells(values: np.ndarray, weights: np.ndarray | None = None) -> UnitScores:
    return UnitScores(values, np.ones_like(values) if weights is None else weights)


def student(u: np.ndarray) -> np.ndarray:
    """p-values of scipy's one-sample test on the columns of u."""
    return 2 * scipy_stats.t.sf(np.abs(u.mean(0)) / scipy_stats.sem(u), len(u) - 1)


def test_holm_is_that_of_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(0).random(40) ** 3
    assert holm(p) == pytest.approx(multitest.multipletests(p, method="holm")[1])
    some = holm(np.array([0.01, np.nan, 0.04]))
    assert some[[0, 2]] == pytest.approx([0.02, 0.04])
    assert np.isnan(some[1])


def test_holm_counts_a_test_that_is_named_twice_once():
    p = np.array([0.01, 0.03, 0.01, np.nan, np.nan, 0.02])
    got = holm(p, [0, 1, 0, 3, 3, 5])
    once = holm(p[[0, 1, 5]])
    assert got[[0, 1, 2, 5]] == pytest.approx([once[0], once[1], once[0], once[2]])
    assert np.isnan(got[[3, 4]]).all()
    assert first_of_each(["x", None, "x", "y", None, "y"]) == [0, 1, 0, 3, 4, 3]


def test_benjamini_hochberg_is_that_of_scipy():
    p = np.random.default_rng(0).random(40) ** 3
    assert benjamini_hochberg(p) == pytest.approx(scipy_stats.false_discovery_control(p))
    assert benjamini_hochberg(np.empty(0)).shape == (0,)


@pytest.mark.parametrize("units", [5, 12, 40])
def test_sign_flips_are_those_of_scipy(units):
    g = np.random.default_rng(units).normal(0.3, 1.0, size=units)
    test = scipy_stats.permutation_test(
        (g,), lambda x, axis: x.mean(axis), permutation_type="samples", n_resamples=20_000, vectorized=True, rng=1
    )
    assert permutation_p(g) == pytest.approx(test.pvalue, abs=1e-12 if units <= 12 else 0.015)


def test_pseudo_values_of_equal_weights_are_plain_differences():
    a, b = np.random.default_rng(1).normal(size=(2, 9))
    one = np.ones(9)
    assert pseudo_values(a, one, b, one) == pytest.approx(a - b)


def test_contributions_turn_with_their_unit_and_ignore_a_common_shift():
    xa, xb, wa, wb = np.random.default_rng(2).gamma(2.0, size=(4, 9))
    g = contributions(xa, wa, xb, wb)
    assert g.mean() == pytest.approx(np.average(xa, weights=wa) - np.average(xb, weights=wb))
    assert contributions(xb, wb, xa, wa) == pytest.approx(-g)
    assert contributions(xa + 10, wa, xb + 10, wb) == pytest.approx(g)


def test_bootstrap_p_is_students_for_normal_differences():
    u = np.random.default_rng(3).normal(0.25, 1.0, size=(60, 200))
    ours, students = bootstrap_p(u), student(u)
    assert np.corrcoef(np.log(ours), np.log(students))[0, 1] > 0.97
    far = bootstrap_p(u + 0.4)
    assert np.median(far) < 1e-5  # not stopped by the number of resamples
    assert np.corrcoef(np.log(far), np.log(student(u + 0.4)))[0, 1] > 0.97


def test_wins_and_ties_follow_the_units_own_noise():
    a = np.array([[0.9, 0.9], [0.5, 0.7], [0.3, 0.3], [0.3, 0.3]])
    b = np.array([[0.8, 0.8], [0.7, 0.5], [0.3, 0.3], [0.4, 0.5]])
    got = paired(cells(a), cells(b))
    assert (got.above, got.equal, got.below) == (1, 2, 1)
    assert got.difference == pytest.approx(a.mean() - b.mean())
    assert got.p == pytest.approx(student((a - b).mean(1)))


def test_only_common_cells_count_and_seeds_may_be_other_ones():
    a, b = np.array([[1.0, 2.0], [3.0, np.nan], [4.0, 4.0]]), np.array([[1.0, 1.0], [2.0, 9.0], [np.nan, np.nan]])
    got = paired(cells(a), cells(b))
    assert (got.n, got.difference) == (2, pytest.approx(6 / 3 - 4 / 3))
    apart = paired(cells(a), cells(b), by_seed=False)
    assert apart.difference == pytest.approx(6 / 3 - 13 / 4)


def test_equal_scores_have_p_one_and_one_unit_has_none():
    a = np.random.default_rng(0).random((20, 1))
    got = paired(cells(a), cells(a * (1 + 1e-8)))
    assert (got.p, got.p_permutation, got.equal) == (1.0, 1.0, 20)
    assert paired(cells(a[:1]), cells(a[:1])).p is None
    shifted = paired(cells(np.zeros((6, 1))), cells(np.ones((6, 1))))
    assert shifted.p == pytest.approx(2 / 2**6)


@pytest.mark.parametrize("kind", ["normal", "skewed", "ratio"])
@pytest.mark.parametrize("units", [8, 12, 30])
def test_no_difference_is_rarely_called_one(kind, units):
    """5 % of 1,000 null pairs at most, give or take two standard errors of the simulation."""
    flagged = 0
    for trial in range(1000):
        draw = np.random.default_rng([trial, units])
        unit, shape, w = draw.normal(size=(units, 1)), (units, 3), None
        if kind == "skewed":
            unit = draw.beta(1, 9, size=(units, 1)) + 1e-9
            a, b = draw.beta(30 * unit, 30 * (1 - unit), size=(2, *shape))
        else:
            a, b = unit + 0.3 * draw.normal(size=(2, units, 1)) + 0.5 * draw.normal(size=(2, *shape))
            w = np.repeat(draw.gamma(8.0, size=(units, 1)), 3, axis=1) if kind == "ratio" else None
        p = paired(cells(a, w), cells(b, w)).p
        assert p is not None
        flagged += p <= 0.05
    assert flagged <= 50 + 2 * np.sqrt(1000 * 0.05 * 0.95), flagged


def test_interval_of_the_difference_covers_it():
    hits = 0
    for trial in range(1000):
        draw = np.random.default_rng(trial)
        unit = draw.normal(size=(12, 1))
        a, b = (unit + m + 0.3 * draw.normal(size=(12, 1)) + 0.2 * draw.normal(size=(12, 3)) for m in (0.5, 0.0))
        got = paired(cells(a), cells(b))
        assert got.low is not None
        assert got.high is not None
        hits += got.low <= 0.5 <= got.high
    assert 0.93 <= hits / 1000 <= 0.97


@pytest.mark.parametrize("units", [12, 30, 113])
def test_skewed_differences_of_mean_zero_are_rarely_called_one(units):
    """Exponential differences; at 5 % Student's test calls 9 % of them at 12 units."""
    draw = np.random.default_rng(units)
    d = draw.exponential(size=(units, 1000)) - 1
    flagged = [
        p <= 0.05 for p in (paired(cells(u[:, None]), cells(np.zeros((units, 1)))).p for u in d.T) if p is not None
    ]
    assert len(flagged) == 1000
    assert np.mean(flagged) <= 0.07 + 2 * np.sqrt(0.07 * 0.93 / 1000)
    if units == 12:
        assert np.mean(student(d) <= 0.05) > np.mean(flagged)


def test_interval_of_a_difference_agrees_with_its_test():
    """The interval leaves out 0 where the two-sided p-value is below 5 %, but for draws of their own."""
    agree = 0
    for trial in range(200):
        draw = np.random.default_rng(trial)
        got = paired(cells(draw.exponential(size=(30, 1)) - 0.7), cells(np.zeros((30, 1))))
        assert got.low is not None
        assert got.high is not None
        assert got.p is not None
        assert got.difference - got.low == pytest.approx(got.high - got.difference)
        agree += (got.low > 0 or got.high < 0) == (got.p <= 0.05)
    assert agree >= 194


def test_few_units_that_mostly_tie_have_no_interval():
    a = np.zeros((12, 1))
    a[:4, 0] = [0.1, 0.2, 0.3, 0.4]
    got = paired(cells(a), cells(np.zeros((12, 1))))
    assert (got.low, got.high) == (None, None)
    assert got.p is not None
