"""Where a noisy curve is least: known curves, error rates in simulation, and what must not matter."""

import numpy as np
import pytest

from saebench_lite.stats.minimum import dips_once, level_draws, may_be_least, sides


def drawn(values: list[float], sd: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Values and 2,000 draws about them."""
    x = np.array(values)
    return x, x + sd * np.random.default_rng(seed).standard_normal((2000, len(x)))


@pytest.mark.parametrize(
    ("values", "sd", "found"),
    [
        ([5, 3, 1, 2, 4], 0.01, (2, 2)),
        ([5, 3, 1, 1.1, 4], 0.0, (2, 3)),  # .1 is less than a twentieth of the range
        ([5, 3, 1, 1.3, 4], 0.0, (2, 2)),
        ([5, 3, 1, 2, 4], 2.0, (1, 4)),
        ([5, 4, 3, 2, 1], 0.01, (4, 4)),
        ([1, 1, 1, 1, 1], 0.1, (0, 4)),
        ([1, 5, 5, 1.1, 5], 0.01, (0, 3)),  # between two that may, all may
    ],
)
def test_known_curves(values: list[float], sd: float, found: tuple[int, int]):
    assert may_be_least(*drawn(values, sd)) == found


def test_the_true_minimum_is_left_out_rarely():
    """Over curves measured anew with noise of the size of their steps."""
    truth, rng = np.array([1.0, 0.5, 0.0, 0.4, 0.9]), np.random.default_rng(1)
    left_out, narrow = 0, 0
    for seed in range(300):
        first, last = may_be_least(*drawn(list(truth + 0.3 * rng.standard_normal(5)), 0.3, seed))
        left_out += not first <= 2 <= last
        narrow += last - first < 4
    assert left_out / 300 < 0.05
    assert narrow / 300 > 0.3


def test_scale_shift_and_direction_do_not_matter():
    x, d = drawn([5, 3, 1, 2, 4], 0.8)
    assert may_be_least(7 * x - 3, 7 * d - 3) == may_be_least(x, d)
    first, last = may_be_least(x, d)
    assert may_be_least(x[::-1], d[:, ::-1]) == (4 - last, 4 - first)
    assert dips_once(x[::-1], d[:, ::-1]) == dips_once(x, d)


def test_sides_of_a_minimum_within_and_at_the_ends():
    assert sides(2, 2, 5) == ["below", "below", "at", "above", "above"]
    assert sides(1, 2, 4) == ["below", "at", "at", "above"]
    assert sides(3, 4, 5) == ["below", "below", "below", "unknown", "unknown"]
    assert sides(0, 0, 3) == ["unknown", "above", "above"]
    assert sides(0, 2, 3) == ["unknown"] * 3


@pytest.mark.parametrize(
    ("values", "sd", "once"),
    [
        ([5, 3, 1, 2, 4], 0.01, True),
        ([1, 2, 3], 0.01, True),
        ([3, 2, 1], 0.01, True),
        ([1, 2, 1.2], 0.01, False),
        ([1, 2, 1.2], 1.0, True),  # the hump may be noise
        ([5, 1, 4, 1, 5], 0.01, False),
    ],
)
def test_one_dip_or_several(values: list[float], sd: float, once: bool):
    assert dips_once(*drawn(values, sd)) is once


def test_a_curve_of_noise_alone_is_rarely_said_to_have_two_dips():
    rng = np.random.default_rng(1)
    found = [dips_once(*drawn(list(rng.standard_normal(8)), 1.0, seed)) for seed in range(200)]
    assert np.mean(found) > 0.95


def test_noise_of_training_widens_every_level_by_its_number_of_runs():
    values = np.array([0.0, 2.0, 4.0, 10.0, 20.0])
    level = [0, 0, 0, 1, 2]
    exact = np.tile(values, (40_000, 1))
    got = level_draws(exact, values, level, np.random.default_rng(0))
    assert np.median(got, axis=0) == pytest.approx([2.0, 10.0, 20.0], abs=0.05)
    quartile = 0.816496580927726 * 2.0  # of Student's t with 2 degrees of freedom, times the pooled sd
    reach = np.percentile(got, 75, axis=0) - np.median(got, axis=0)
    assert reach == pytest.approx([quartile / 3**0.5, quartile, quartile], rel=0.05)


def test_without_repeated_runs_draws_are_those_of_the_evaluation():
    x, d = drawn([1, 2, 3], 0.1)
    assert np.array_equal(level_draws(d, x, [2, 0, 1], np.random.default_rng(0)), d[:, [1, 2, 0]])
