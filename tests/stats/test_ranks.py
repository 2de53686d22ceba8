"""Control tests, the order of subjects and calibrated scores: known answers, an independent loop, error rates."""

import time

import numpy as np
import pytest

from saebench_lite.stats import bootstrap_t
from saebench_lite.stats.bootstrap_t import FAMILY_LEVEL, bootstrap_p, p_values, step_down, studentised
from saebench_lite.stats.intervals import interval, resample_counts
from saebench_lite.stats.ranks import above_control, calibrated, order, outside_group, pseudo_means, same_scores


def table(level: list[float], units: int, seed: int, noise: float = 0.4) -> np.ndarray:
    draw = np.random.default_rng([seed, units])
    return draw.normal(size=units) + np.array(level)[:, None] + noise * draw.normal(size=(len(level), units))


def test_studentised_resamples_are_those_of_a_loop():
    u = np.random.default_rng(0).gamma(2.0, size=(9, 3))
    s, counts = studentised(u), resample_counts(9, bootstrap_t.DRAWS)
    assert s.t == pytest.approx(u.mean(0) / (u.std(0, ddof=1) / 3))
    for k in (0, 7, 1998):
        drawn = np.repeat(u, counts[k].astype(int), axis=0)
        error = drawn.std(0) * np.sqrt(1 / 8)
        assert s.drawn[k] == pytest.approx((drawn.mean(0) - u.mean(0)) / error)


def test_step_down_is_that_of_a_loop():
    """Each hypothesis against the greatest statistic of those not yet rejected, p-values never falling."""
    draw = np.random.default_rng(1)
    t, drawn = np.abs(draw.normal(size=6)) * 2, np.abs(draw.normal(size=(499, 6)))
    left, last, expected = list(range(6)), 0.0, np.empty(6)
    while left:
        first = max(left, key=lambda i: t[i])
        last = max(last, (1 + (drawn[:, left].max(1) >= t[first]).sum()) / 500)
        expected[first] = last
        left.remove(first)
    assert step_down(t, drawn) == pytest.approx(expected)
    one = step_down(t[:1], drawn[:, :1])
    assert one == pytest.approx((1 + (drawn[:, 0] >= t[0]).sum()) / 500)
    assert step_down(t[[3, 1, 0, 2, 5, 4]], drawn[:, [3, 1, 0, 2, 5, 4]]) == pytest.approx(expected[[3, 1, 0, 2, 5, 4]])


def test_one_sided_p_values_are_mirror_images():
    u = np.random.default_rng(3).exponential(size=(40, 50)) - 1
    up, down = bootstrap_p(u, "above"), bootstrap_p(-u, "above")
    assert up + down == pytest.approx(np.ones(50), abs=0.002)
    assert ((up < 0.5) == (u.mean(0) > 0)).mean() > 0.9
    assert (p_values(studentised(u[:4]), "above") <= 1).all()


def test_clear_order_is_seen_and_equal_scores_share_it():
    x = table([3.0, 3.0, 1.0, 0.0], 30, 0, noise=0.1)
    x[1] = x[0]
    got = order(x, np.ones_like(x))
    assert got.low.tolist() == [1, 1, 3, 4]
    assert got.high.tolist() == [2, 2, 3, 4]
    assert got.may_be_best.tolist() == [True, True, False, False]
    assert got.above.sum(1).tolist() == [2, 2, 1, 0]
    assert (got.likely == got.above).all()
    alike = order(x[[0, 0, 0]], np.ones((3, 30)))
    assert (alike.low.tolist(), alike.high.tolist()) == ([1, 1, 1], [3, 3, 3])
    assert alike.may_be_best.all()


def test_order_does_not_depend_on_that_of_the_rows_nor_on_shift_and_scale():
    x = table([0.0, 0.1, 0.3, 0.4, 0.9], 40, 1)
    got, turned, moved = (order(y, np.ones_like(y)) for y in (x, x[::-1], 3 * x + 7))
    assert got.low.tolist() == turned.low[::-1].tolist() == moved.low.tolist()
    assert got.high.tolist() == turned.high[::-1].tolist() == moved.high.tolist()
    assert (got.above == turned.above[::-1, ::-1]).all()
    assert (got.may_be_best == moved.may_be_best).all()


def test_who_may_be_best_are_those_whose_rank_interval_holds_one():
    for seed in range(30):
        x = table([0.0, 0.1, 0.2, 0.3, 0.4, 0.5], 30, seed)
        got = order(x, np.ones_like(x))
        assert ((got.low == 1) == got.may_be_best).all()
        assert got.may_be_best.any()
        assert not got.above[:, got.may_be_best].any()
        assert (got.high[got.may_be_best] > 1).all() or got.may_be_best.sum() == 1
        assert not got.above[:, got.may_be_best][got.may_be_best].sum(0).all()
        assert (got.likely >= got.above).all()


@pytest.mark.parametrize("skewed", [False, True])
@pytest.mark.parametrize("units", [12, 30, 60])
def test_equal_subjects_are_rarely_separated(units, skewed):
    """5 % of tables at most, give or take two standard errors; half of the skewed differences lean to one side."""
    false = left_out = marked = 0
    side = np.where(np.arange(7) % 2, -1.0, 1.0)[:, None]
    for trial in range(200):
        draw = np.random.default_rng([trial, units])
        x = side * (draw.exponential(size=(7, units)) - 1) if skewed else draw.normal(size=(7, units))
        got = order(x[:6], np.ones((6, units)))
        false += bool(got.likely.any())
        left_out += not got.may_be_best.all()
        marked += bool((above_control(x, np.ones_like(x), np.array([[i, 6] for i in range(6)])) <= FAMILY_LEVEL).any())
    bar = 200 * 0.05 + 2 * np.sqrt(200 * 0.05 * 0.95)
    assert max(false, left_out, marked) <= bar, (false, left_out, marked)


def test_pairs_are_marked_at_the_level_of_the_family_and_ranks_at_that_of_a_row():
    seen = set()
    for seed in range(200):
        x = table([0.0, 0.4], 40, seed)
        s = studentised(pseudo_means(x, np.ones_like(x)) @ np.array([[1.0], [-1.0]]))
        (p,) = step_down(np.abs(s.t), np.abs(s.drawn))
        got = order(x, np.ones_like(x))
        assert got.above.any() == got.likely.any() == (p <= 0.03)
        assert got.may_be_best.all() == (p > 0.03)
        assert (got.high == 1).any() == (p <= 0.03)  # at .05 by itself, but two rows may be the best
        seen.add(int(p <= 0.03) + int(p <= 0.05))
    assert seen == {0, 1, 2}


@pytest.mark.parametrize("units", [12, 60])
def test_a_rank_interval_holds_the_true_ranks_of_its_row(units):
    """In 95 % of simulated rows at least; equal subjects may stand anywhere in their group."""
    level = [0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 1.0]
    low, high = np.array([4, 4, 4, 4, 2, 2, 1]), np.array([7, 7, 7, 7, 3, 3, 1])
    missed = np.zeros(7)
    for trial in range(200):
        x = table(level, units, trial)
        got = order(x, np.ones_like(x))
        missed += (got.low > low) | (got.high < high)
    assert missed.max() <= 10 + 2.5 * np.sqrt(200 * 0.05 * 0.95), missed


def test_above_control_sees_a_clear_lead_and_no_clone():
    x = table([1.0, 0.0, 0.0], 20, 3)
    x = np.concatenate([x, x[2:]])
    p = above_control(x, np.ones_like(x), np.array([[0, 2], [1, 2], [3, 2]]))
    assert p[0] <= 0.005
    assert p[1] > 0.05
    assert p[2] == 1.0
    below = above_control(-x, np.ones_like(x), np.array([[0, 2]]))
    assert below[0] > 0.9
    assert same_scores(x[2], x[3] * (1 + 1e-8))


def test_outside_group_asks_for_all_members():
    x = table([2.0, 1.0, 0.5, 0.0, -1.0], 40, 4)
    assert outside_group(x, np.ones_like(x), [1, 2], [0, 3, 4]).tolist() == [1, -1, -1]
    assert outside_group(x, np.ones_like(x), [0, 2], [1, 4]).tolist() == [0, -1]


def test_outside_group_is_asked_at_the_level_of_the_marks():
    """One outsider and one member: two sides, so that Holm doubles the one-sided p-value."""
    seen = set()
    for seed in range(300):
        x = table([0.35, 0.0], 40, seed)
        (p,) = bootstrap_p((pseudo_means(x, np.ones_like(x)) @ np.array([[1.0], [-1.0]])), "above")
        assert (outside_group(x, np.ones_like(x), [1], [0])[0] == 1) == (2 * p <= 0.03)
        seen.add(int(2 * p <= 0.03) + int(2 * p <= 0.05))
    assert seen == {0, 1, 2}


def test_what_another_is_above_is_never_tied_with_best():
    levels = [0.0, 0.0, 0.25]
    for seed in range(400):
        got = order(x := table(levels, 30, seed), np.ones_like(x))
        assert not (got.may_be_best & got.above.any(0)).any()


def test_pseudo_means_average_to_the_weighted_means():
    draw = np.random.default_rng(5)
    x, w = draw.normal(size=(3, 20)), draw.gamma(2.0, size=(3, 20))
    expected = [np.average(a, weights=b) for a, b in zip(x, w, strict=True)]
    assert pseudo_means(x, w).mean(0) == pytest.approx(np.array(expected))
    assert pseudo_means(x, np.ones_like(x)) == pytest.approx(x.T)


def test_order_of_a_big_table_is_quick():
    x = np.random.default_rng(0).normal(size=(20, 113)) + 0.1 * np.arange(20)[:, None]
    order(x, np.ones_like(x))
    started = time.process_time()
    order(x, np.ones_like(x))
    assert time.process_time() - started < 2.0


def test_calibrated_scale():
    draw = np.random.default_rng(5)
    unit = draw.normal(size=200)
    x = unit + np.array([0.6, 0.2, 1.0])[:, None] + np.array([0.2, 0.2, 0.8])[:, None] * draw.normal(size=(3, 200))
    w = np.broadcast_to(draw.gamma(3.0, size=200), x.shape)
    got = calibrated(x, w)
    assert got is not None

    def score(i: np.ndarray) -> float:
        raw, control, ceiling = (np.average(row[i], weights=v[i]) for row, v in zip(x, w, strict=True))
        return (raw - control) / (ceiling - control)

    assert got[0] == pytest.approx(score(np.arange(200)))
    again = [score(draw.integers(200, size=200)) for _ in range(2000)]
    assert got[1:] == pytest.approx(np.quantile(again, [0.025, 0.975]), rel=0.08)
    assert calibrated(x[[0, 2, 1]], w) is None
    assert calibrated(x[:, :1], w[:, :1]) is None
    clear = np.repeat([[0.3], [0.2], [0.9]], 12, axis=1)
    assert calibrated(clear, np.ones((3, 12))) == pytest.approx((1 / 7, 1 / 7, 1 / 7))
    assert calibrated(clear[:, :11], np.ones((3, 11))) is None
    control = calibrated(x[[1, 1, 2]], w)
    assert control == pytest.approx((0.0, 0.0, 0.0))


def test_calibrated_interval_covers_the_truth():
    hits = 0
    for trial in range(1000):
        draw = np.random.default_rng(trial)
        spread = np.array([0.04, 0.04, 0.05])[:, None] * draw.normal(size=(3, 30))
        got = calibrated(0.05 * draw.normal(size=30) + np.array([0.64, 0.61, 0.75])[:, None] + spread, np.ones((3, 30)))
        assert got is not None
        hits += got[1] <= 3 / 14 <= got[2]
    assert 0.93 <= hits / 1000 <= 0.97, hits


def test_calibrated_interval_of_few_units_is_that_of_ninety_six_percent():
    draw = np.random.default_rng(3)
    x = np.array([0.64, 0.61, 0.75])[:, None] + 0.02 * draw.normal(size=(3, 60))
    for n, level in ((12, 0.96), (29, 0.96), (30, 0.95), (60, 0.95)):
        few = x[:, :n]
        got = calibrated(few, np.ones((3, n)))
        assert got is not None
        value, low, high = got
        gap = (few[2] - few[1]).mean()
        e = ((few[0] - few[1]) - value * (few[2] - few[1])) / gap
        ends = interval(e + value, np.ones(n), symmetric=True, level=level)
        assert (low, high) == pytest.approx(ends, abs=1e-12)


def test_no_scale_between_ends_that_are_not_four_standard_errors_apart():
    draw = np.random.default_rng(0)
    ends = draw.normal(size=(2, 25))
    gap = (ends[1] - ends[0]) - (ends[1] - ends[0]).mean()
    error = gap.std(ddof=1) / 5
    for times, there in ((3.9, False), (4.1, True)):
        x = np.stack([ends[0], np.zeros(25), gap + times * error])
        assert (calibrated(x, np.ones((3, 25))) is not None) is there
