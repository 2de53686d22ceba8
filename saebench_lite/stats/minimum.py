"""Where a quantity that is measured with error at a few ordered levels is least. Pure functions of numpy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import numpy as np

from saebench_lite.stats.reseed_noise import pooled_sd

Side = Literal["below", "at", "above", "unknown"]
"Where a level lies to the minimum; `unknown` where that may lie beyond the levels or at any of them."

FLAT = 0.05
"Share of the range over the levels by which a value may exceed the least one and still count as least."
RARE = 0.05
"Share of the draws in which a level that may be least has to be least."


def level_draws(draws: np.ndarray, values: np.ndarray, level: Sequence[int], rng: np.random.Generator) -> np.ndarray:
    """Draws [b, levels] of the mean of each level's runs, with the noise of training added to that of the evaluation.

    The noise of training is the spread of runs within levels, pooled over those with several: Student's t with its
    degrees of freedom, over the root of a level's number of runs. Where no level has two runs, none is added.

    Args:
        draws: of each run's value, as the evaluation might have given it. [b, runs]
        values: of the runs. [runs]
        level: of each run, from 0 up, none left out. [runs]
        rng: draws the noise.
    """
    groups = [np.flatnonzero(np.array(level) == k) for k in range(max(level) + 1)]
    means = np.stack([draws[:, g].mean(1) for g in groups], axis=1)
    sd, df = pooled_sd([values[g] for g in groups])
    if df:
        means = means + rng.standard_t(df, means.shape) * sd / np.sqrt([len(g) for g in groups])
    return means


def may_be_least(values: np.ndarray, draws: np.ndarray) -> tuple[int, int]:
    """First and last of the levels that may be the least one.

    A level may be where, in more than `RARE` of the draws, it lies within `FLAT` of the range of `values` above the
    least level of that draw; those between two that may are counted in.

    Args:
        values: of the levels, in their order. [levels]
        draws: the same as they might have been measured. [b, levels]
    """
    reach = draws.min(1, keepdims=True) + FLAT * np.ptp(values)
    found = np.flatnonzero((draws <= reach).mean(0) > RARE)
    return int(found[0]), int(found[-1])


def dips_once(values: np.ndarray, draws: np.ndarray) -> bool:
    """Whether the quantity may fall to one minimum and rise from it.

    False if some level lies more than `FLAT` of the range of `values` above one given level to its left and one to its
    right in all but `RARE` of the draws, divided by the number of such triples (Bonferroni).

    Args:
        values: of the levels, in their order. [levels]
        draws: the same as they might have been measured. [b, levels]
    """
    triples = list(combinations(range(len(values)), 3))
    margin = FLAT * np.ptp(values)
    humps = [((draws[:, j] - np.maximum(draws[:, i], draws[:, k])) > margin).mean() for i, j, k in triples]
    return bool(max(humps, default=0.0) <= 1 - RARE / max(1, len(triples)))


def sides(first: int, last: int, levels: int) -> list[Side]:
    """Where each level lies to the minimum, for a quantity that falls to one and rises from it.

    With the minimum among `first` to `last`, levels outside are known; those inside only where neither end of them is
    an end of the family, beyond which it may fall further.

    Args:
        first: the first level that may be least.
        last: the last one.
        levels: how many there are.
    """
    inside: Side = "at" if first > 0 and last < levels - 1 else "unknown"
    return ["below" if i < first else "above" if i > last else inside for i in range(levels)]
