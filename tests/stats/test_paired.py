"""Paired comparisons, Holm, rank intervals and calibrated scores."""

import time

import numpy as np
import pytest
from scipy import stats as scipy_stats

from saebench_lite.stats.paired import (
    UnitScores,
    bootstrap_p,
    contributions,
    holm,
    paired,
    permutation_p,
    pseudo_values,
)
from saebench_lite.stats.ranks import calibrated, rank_intervals


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


def test_ranks_share_what_cannot_be_told_apart():
    draw = np.random.default_rng(0)
    unit = draw.normal(size=30)
    level = np.array([3.0, 3.0, 1.0, 0.0])
    x = unit + level[:, None] + 0.1 * draw.normal(size=(4, 30))
    x[1] = x[0]
    best, worst = rank_intervals(x, np.ones_like(x))
    assert best.tolist() == [1, 1, 3, 4]
    assert worst.tolist() == [2, 2, 3, 4]
    one = rank_intervals(x[:, :1], np.ones((4, 1)))
    assert one[0].tolist() == [1] * 4
    assert one[1].tolist() == [4] * 4


@pytest.mark.parametrize("units", [8, 12, 60])
def test_rank_intervals_hold_all_true_ranks(units):
    """In 95 % of simulated tables at least; equal subjects may stand anywhere in their group."""
    level = np.array([0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 1.0])
    low, high = np.array([4, 4, 4, 4, 2, 2, 1]), np.array([7, 7, 7, 7, 3, 3, 1])
    missed = 0
    for trial in range(200):
        draw = np.random.default_rng([trial, units])
        x = draw.normal(size=units) + level[:, None] + 0.4 * draw.normal(size=(7, units))
        best, worst = rank_intervals(x, np.ones_like(x))
        missed += bool((best > low).any() or (worst < high).any())
    assert missed <= 10 + 2 * np.sqrt(200 * 0.05 * 0.95), missed


def test_ranks_of_a_big_table_are_quick():
    x = np.random.default_rng(0).normal(size=(20, 113)) + 0.1 * np.arange(20)[:, None]
    rank_intervals(x, np.ones_like(x))
    started = time.perf_counter()
    rank_intervals(x, np.ones_like(x))
    assert time.perf_counter() - started < 0.2


def test_calibrated_scale():
    draw = np.random.default_rng(5)
    unit = draw.normal(size=200)
    x = unit + np.array([0.6, 0.2, 1.0])[:, None] + np.array([0.2, 0.2, 0.8])[:, None] * draw.normal(size=(3, 200))
    w = np.broadcast_to(draw.gamma(3.0, size=200), x.shape)
    got = calibrated(x, w)
    assert got is not None
    assert got[1] is not None
    assert got[2] is not None

    def score(i: np.ndarray) -> float:
        raw, control, ceiling = (np.average(row[i], weights=v[i]) for row, v in zip(x, w, strict=True))
        return (raw - control) / (ceiling - control)

    assert got[0] == pytest.approx(score(np.arange(200)))
    again = [score(draw.integers(200, size=200)) for _ in range(2000)]
    assert got[1:] == pytest.approx(np.quantile(again, [0.025, 0.975]), rel=0.08)
    assert calibrated(x[[0, 2, 1]], w) is None
    control = calibrated(x[[1, 1, 2]], w)
    assert control == pytest.approx((0.0, 0.0, 0.0))


def test_calibrated_interval_covers_the_truth():
    hits = 0
    for trial in range(1000):
        draw = np.random.default_rng(trial)
        spread = np.array([0.04, 0.04, 0.05])[:, None] * draw.normal(size=(3, 30))
        got = calibrated(0.05 * draw.normal(size=30) + np.array([0.64, 0.61, 0.75])[:, None] + spread, np.ones((3, 30)))
        assert got is not None
        assert got[1] is not None
        assert got[2] is not None
        hits += got[1] <= 3 / 14 <= got[2]
    assert 0.93 <= hits / 1000 <= 0.97, hits
