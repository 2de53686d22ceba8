"""Ranks of recipes over training seeds."""

import numpy as np

from saebench_lite.stats.recipes import recipe_ranks


def panel(levels: list[float], sd: float, trial: int) -> tuple[np.ndarray, list[list[int]]]:
    """Three SAEs a recipe on 40 units; each training adds normal noise of the given sd to its level."""
    draw = np.random.default_rng(trial)
    unit = draw.normal(size=40)
    trained = np.repeat(levels, 3) + sd * draw.normal(size=3 * len(levels))
    return unit + trained[:, None] + 0.3 * draw.normal(size=(len(trained), 40)), [
        [3 * i, 3 * i + 1, 3 * i + 2] for i in range(len(levels))
    ]


def test_clear_recipes_are_ranked_and_rows_may_stand_in_any_order():
    x, members = panel([2.0, 0.0, 1.0], 0.05, 0)
    low, high = recipe_ranks(x, np.ones_like(x), members)
    assert (low.tolist(), high.tolist()) == ([1, 3, 2], [1, 3, 2])
    low, high = recipe_ranks(x, np.ones_like(x), [members[k][::-1] for k in (1, 2, 0)])
    assert (low.tolist(), high.tolist()) == ([3, 2, 1], [3, 2, 1])


def test_training_noise_keeps_equal_recipes_together():
    """A test over units alone calls most of these pairs different; 7 % of rows at most here."""
    missed = 0
    for trial in range(100):
        x, members = panel([0.0, 0.0, 0.0], 0.5, trial)
        low, high = recipe_ranks(x, np.ones_like(x), members)
        missed += int(((low > 1) | (high < 3)).sum())
    assert missed <= 300 * 0.07 + 2 * np.sqrt(300 * 0.07 * 0.93), missed
