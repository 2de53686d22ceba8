"""What few units can still say: a group against a control, factors of a design, units that would decide a pair."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from saebench_lite.stats.bootstrap_t import FAMILY_LEVEL, bootstrap_p, step_down, studentised
from saebench_lite.stats.intervals import FEW, interval, too_alike
from saebench_lite.stats.student_t import normal_quantile

POWER = 0.8
"Chance with which a difference should be found, where it is asked how many units or seeds that takes."


FEW_LEVEL = 0.01
"""Nominal level of contrasts below `FEW` units, so that about 5 % of tables at most have a false one: they may
lack the one unit that holds most of the spread, and nothing in them tells
(`tests/experiments/rank_simulation.py`)."""


class Contrast(NamedTuple):
    """Mean of `first` minus mean of `second`, over the levels of the other factor that both have."""

    first: str
    second: str
    difference: float
    low: float | None
    high: float | None
    p: float
    "Two-sided, adjusted over the contrasts of one factor (Romano-Wolf)."
    certain: bool
    "Whether p is at most `FAMILY_LEVEL`, below `FEW` units `FEW_LEVEL`."
    levels: int
    "Levels of the other factor that both have."


def level_contrasts(u: np.ndarray, factor: Sequence[str], other: Sequence[str]) -> list[Contrast]:
    """All pairs of levels of `factor`, higher mean first, averaged over the levels of `other` that both levels have.

    Several subjects of one cell are averaged. A pair without a common level of `other` is left out.

    Args:
        u: pseudo-values. [units >= 2, subjects]
        factor: level of each subject. [subjects]
        other: level of each subject of the factor that is averaged over. [subjects]
    """
    cells: dict[str, dict[str, list[int]]] = {}
    for i, (level, block) in enumerate(zip(factor, other, strict=True)):
        cells.setdefault(level, {}).setdefault(block, []).append(i)
    names, differences = list(cells), []
    for k, a in enumerate(names):
        for b in names[k + 1 :]:
            common = [block for block in cells[a] if block in cells[b]]
            if common:
                d = np.mean([u[:, cells[a][c]].mean(1) - u[:, cells[b][c]].mean(1) for c in common], axis=0)
                differences.append((a, b, d, len(common)))
    if not differences:
        return []
    s = studentised(np.stack([d for _, _, d, _ in differences], axis=1))
    p = np.where(s.usable, step_down(np.where(s.usable, np.abs(s.t), 0.0), np.abs(s.drawn)), 1.0)
    return [_contrast(a, b, d, levels, float(q)) for (a, b, d, levels), q in zip(differences, p, strict=True)]


def _contrast(a: str, b: str, d: np.ndarray, levels: int, p: float) -> Contrast:
    """The contrast with its higher level first.

    Args:
        a: a level.
        b: another.
        d: a minus b. [units]
        levels: of the other factor.
        p: adjusted.
    """
    if d.mean() < 0:
        a, b, d = b, a, -d
    low, high = (None, None) if too_alike(d) else interval(d, np.ones(len(d)), symmetric=True)
    certain = p <= (FAMILY_LEVEL if len(d) >= FEW else FEW_LEVEL)
    return Contrast(a, b, float(d.mean()), low, high, p, certain, levels)


def lead_p(d: np.ndarray) -> float:
    """One-sided p-value for a mean of d [units >= 6] above 0, by bootstrap-t, and at least half of the two-sided one.

    With few units the bootstrap's own takes their skewness on trust and can be far smaller than that half.
    """
    return float(max(bootstrap_p(d[:, None], "above")[0], bootstrap_p(d[:, None])[0] / 2))


def units_needed(d: np.ndarray, level: float = 0.05) -> int | None:
    """Units with which a paired test at `level` finds the mean of d [units >= 2] at a chance of 80 %; None if it is 0.

    Normal approximation: ((z(1 - level / 2) + z(.8)) s / mean)², at least 2 (Cohen 1988, chapter 2).
    """
    mean, s, z = float(d.mean()), float(d.std(ddof=1)), normal_quantile(1 - level / 2) + normal_quantile(POWER)
    if mean == 0:
        return None
    return max(2, int(np.ceil(min(1e12, (z * s / mean) ** 2))))
