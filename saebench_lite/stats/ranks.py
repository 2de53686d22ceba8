"""Which subjects stand above which: control tests, the set that may hold the best, rank intervals, calibrated scores.

Three questions, each a family of tests of its own, so that the pairs that nobody asks about cost no power. All take
oriented scores (higher is better) x [subjects, units] and their weights w, all finite, on the same units, and read
them as jackknife pseudo-values. Pure functions of arrays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from saebench_lite.stats.bootstrap_t import FAMILY_LEVEL, Studentised, bootstrap_p, p_values, step_down, studentised
from saebench_lite.stats.intervals import FEW, SAME, SHOWN_FROM, influence, interval, standard_error
from saebench_lite.stats.paired import benjamini_hochberg, holm

CERTAIN_GAP = 4.0
"Standard errors by which the ceiling must be above the control for a scale between the two."
SCALE_LEVEL = 0.96
"Nominal coverage of a calibrated score below `FEW` units: where the gap is certain by luck, 95 % would cover less."


class Order(NamedTuple):
    """What the data say about the order of subjects."""

    low: np.ndarray
    "Best rank, lower end of a 95 % interval for each subject by itself. [subjects]"
    high: np.ndarray
    "Worst rank. [subjects]"
    may_be_best: np.ndarray
    "With a chance of 95 % or more all subjects whose true mean is the highest are among the marked ones. [subjects]"
    above: np.ndarray
    "Row above column; the chance of any false mark in the table is at most 5 %. [subjects, subjects]"
    likely: np.ndarray
    "Row above column; of the marks at most 5 % are expected to be false. [subjects, subjects]"


def pseudo_means(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Jackknife pseudo-values [units, subjects] of the weighted means of x, w [subjects, units], centred on them."""
    e = np.stack([influence(*row) for row in zip(x, w, strict=True)])
    return (e - e.mean(1, keepdims=True) + ((w * x).sum(1) / w.sum(1))[:, None]).T


def above_control(x: np.ndarray, w: np.ndarray, control: np.ndarray) -> np.ndarray:
    """One-sided p-values [rows of control] that a subject is above its control, adjusted over them.

    By the step-down of Romano and Wolf on joint resamples: Holm's on single p-values has to trust Student's tail, and
    marks something in 9 % of tables of 12 equal SAEs with exponential scores of 12 units. A mark is due at
    `FAMILY_LEVEL`.

    Args:
        x: scores. [subjects, units >= 2]
        w: weights. [subjects, units]
        control: pairs (row of a subject, row of its control). [tests, 2]
    """
    u = pseudo_means(x, w)
    s = studentised(u[:, control[:, 0]] - u[:, control[:, 1]])
    tested = s.usable & ~same_scores(x[control[:, 0]], x[control[:, 1]])
    p = np.ones(len(control))
    p[tested] = step_down(s.t[tested], s.drawn[:, tested])
    return p


def outside_group(x: np.ndarray, w: np.ndarray, group: list[int], others: list[int]) -> np.ndarray:
    """1 for each of `others` that is above the whole group, -1 for below the whole group, else 0. [others]

    One-sided tests against each member; the largest p-value speaks for all of them (intersection-union, Berger 1982),
    adjusted over both sides of all others (Holm), at `FAMILY_LEVEL`.

    Args:
        x: scores. [subjects, units >= 2]
        w: weights. [subjects, units]
        group: rows of x.
        others: rows of x.
    """
    u = pseudo_means(x, w)
    pairs = np.concatenate([u[:, [i]] - u[:, group] for i in others], axis=1)
    sides = np.stack([bootstrap_p(sign * pairs, "above").reshape(len(others), -1).max(1) for sign in (1, -1)])
    up, down = holm(sides.ravel()).reshape(2, -1) <= FAMILY_LEVEL
    return up.astype(int) - down.astype(int)


def order(x: np.ndarray, w: np.ndarray) -> Order:
    """Order of subjects from their paired differences; x, w [subjects >= 2, units >= 2].

    All pairs are studentised on the same resamples of units; pairs of equal scores, or with too few units that differ,
    are no tests.

    above: Romano and Wolf's step-down over the pairs, at `FAMILY_LEVEL`.
    low, high: 1 + the subjects above, and all less the ones below, by a step-down over the pairs of that subject alone,
    so that the coverage is that of each row.
    may_be_best: a step-down over the hypotheses "no subject is above this one", whose statistic is the greatest lead of
    another, at `FAMILY_LEVEL`. It and the rank intervals are made to agree: a subject whose interval holds 1 belongs to
    it unless another is above, the interval of one that belongs holds 1, and where several belong none is first alone.
    likely: Benjamini and Hochberg over the pairs, where at least one pair is certain: their p-values follow Student's
    tail, and without that condition 30 skewed units of equal subjects give false marks in 13 % of tables.

    Source: Romano & Wolf 2005; Mogstad, Romano, Shaikh & Wilhelm 2024 (Review of Economic Studies 91) for marginal rank
    intervals and sets of the best; Hansen, Lunde & Nason 2011 for the set by elimination.
    """
    subjects = len(x)
    u = pseudo_means(x, w)
    first, second = np.triu_indices(subjects, 1)
    s = studentised(u[:, first] - u[:, second])
    tested = s.usable & ~same_scores(x[first], x[second])
    first, second = first[tested], second[tested]
    s = Studentised(s.t[tested], s.drawn[:, tested], s.usable[tested], s.units)
    better = np.where(s.t > 0, first, second), np.where(s.t > 0, second, first)
    size, drawn = np.abs(s.t), np.abs(s.drawn)

    def marks(significant: np.ndarray) -> np.ndarray:
        table = np.zeros((subjects, subjects), dtype=bool)
        table[better[0][significant], better[1][significant]] = True
        return table

    low, high = np.ones(subjects, dtype=int), np.full(subjects, subjects)
    lead, leads = np.full(subjects, -np.inf), np.full((len(drawn), subjects), -np.inf)
    for i in range(subjects):
        own = (first == i) | (second == i)
        if own.any():
            apart = step_down(size[own], drawn[:, own]) <= 0.05
            low[i] += (apart & (better[1][own] == i)).sum()
            high[i] -= (apart & (better[0][own] == i)).sum()
            sign = np.where(second[own] == i, 1.0, -1.0)
            lead[i], leads[:, i] = (sign * s.t[own]).max(), (sign * s.drawn[:, own]).max(1)
    above = marks(step_down(size, drawn) <= FAMILY_LEVEL)
    likely = marks(benjamini_hochberg(p_values(s)) <= 0.05) if above.any() else above
    may_be_best = ((step_down(lead, leads) > FAMILY_LEVEL) | (low == 1)) & ~above.any(0)
    low = np.where(may_be_best, 1, np.maximum(low, 2))
    high = np.maximum(high, 2) if may_be_best.sum() > 1 else high
    return Order(low, high, may_be_best, above, likely | above)


def same_scores(a: np.ndarray, b: np.ndarray) -> np.ndarray | np.bool:
    """Whether scores a and b [..., units] are equal in all units but for rounding. [...]"""
    return np.all(np.abs(a - b) <= SAME * np.maximum(np.abs(a), np.abs(b)), axis=-1)


def calibrated(x: np.ndarray, w: np.ndarray) -> tuple[float, float, float] | None:
    """(raw - control) / (ceiling - control) with its interval; None where the ceiling is not `CERTAIN_GAP` above.

    x, w [3, units]: scores and weights of subject, control and ceiling. Units are resampled once for all three, as
    pseudo-values of the ratio. Where the gap is one or two of its standard errors the ratio has no mean to speak of and
    its interval is several scales wide. Below `SHOWN_FROM` units the standard error is not known well enough.
    """
    n = x.shape[1]
    if n < SHOWN_FROM:
        return None
    raw, control, ceiling = (w * x).sum(1) / w.sum(1)
    u = pseudo_means(x, w)
    gap = ceiling - control
    if not gap > 0 or gap < CERTAIN_GAP * standard_error(u[:, 2] - u[:, 1], np.ones(n)):
        return None
    value = (raw - control) / gap
    e = ((u[:, 0] - u[:, 1]) - value * (u[:, 2] - u[:, 1])) / gap
    level = SCALE_LEVEL if n < FEW else 0.95
    return float(value), *interval(e - e.mean() + value, np.ones(n), symmetric=True, level=level)
