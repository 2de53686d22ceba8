"""Ranks of training recipes from several training seeds of each. Pure functions of arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from saebench_lite.stats.intervals import standard_error
from saebench_lite.stats.paired import holm
from saebench_lite.stats.ranks import pseudo_means
from saebench_lite.stats.reseed_noise import pooled_sd
from saebench_lite.stats.student_t import two_sided_p


def recipe_ranks(
    x: np.ndarray, w: np.ndarray, members: Sequence[Sequence[int]], level: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """(best, worst) rank of each recipe [recipes], an interval for each recipe by itself, as another training would do.

    The error of a difference of two recipes is that of its mean over units and that of training,
    sd² (1 / seeds + 1 / seeds) with the sd of scores within recipes, pooled; Student's test with the degrees of freedom
    of Satterthwaite 1946, Holm over the pairs of a recipe. A recipe of one seed takes part with the pooled sd.

    Args:
        x: scores, higher is better. [subjects, units >= 2]
        w: their weights. [subjects, units]
        members: rows of x that belong to each recipe, two or more of one of them at least.
        level: coverage.
    """
    u = pseudo_means(x, w)
    mean = u.mean(0)
    sd, df = pooled_sd([mean[list(rows)] for rows in members])
    means = np.stack([u[:, list(rows)].mean(1) for rows in members], axis=1)
    recipes, units = len(members), len(u)
    low, high = np.ones(recipes, dtype=int), np.full(recipes, recipes)
    for i in range(recipes):
        others = [j for j in range(recipes) if j != i]
        p = np.ones(len(others))
        lead = np.array([means[:, i].mean() - means[:, j].mean() for j in others])
        for k, j in enumerate(others):
            between = standard_error(means[:, i] - means[:, j], np.ones(units)) ** 2
            trained = sd**2 * (1 / len(members[i]) + 1 / len(members[j]))
            total = between + trained
            if total > 0:
                freedom = total**2 / (between**2 / (units - 1) + trained**2 / df)
                p[k] = float(two_sided_p(lead[k] / np.sqrt(total), freedom))
        apart = holm(p) <= 1 - level
        low[i] += (apart & (lead < 0)).sum()
        high[i] -= (apart & (lead > 0)).sum()
    return low, high
