"""Bootstrap-t tests of means over units: studentised resamples, p-values, step-down adjustment. Pure functions."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from saebench_lite.stats.intervals import BOOTSTRAP_FROM, FLAT, resample_counts
from saebench_lite.stats.student_t import two_sided_p, upper_p

DRAWS = 1999


TAIL = 20
"Draws beyond which the bootstrap's p-value follows Student's tail."


FAMILY_LEVEL = 0.03
"""Nominal level of the marks of a table, so that at most 5 % of tables have a false one: where few units hold most of
the spread the bootstrap-t errs more often than its level says (`tests/experiments/rank_simulation.py`)."""


class Studentised(NamedTuple):
    """t statistics of several means of the same units and their joint bootstrap distribution."""

    t: np.ndarray
    "mean / standard error; infinite where the units agree on a value that is not 0. [columns]"
    drawn: np.ndarray
    "(mean* - mean) / standard error* of each resample, one draw of units for all columns. [DRAWS, columns]"
    usable: np.ndarray
    "Whether enough resamples have a spread; False where nearly all units agree. [columns]"
    units: int


def studentised(u: np.ndarray) -> Studentised:
    """t statistics and their resamples of pseudo-values u [units >= 2, columns]; a resample without spread counts as 0.

    Source: Efron & Tibshirani 1993, section 12.5; Romano & Wolf 2005 for the joint resamples.
    """
    n = len(u)
    mean = u.mean(0)
    error = np.sqrt(u.var(0, ddof=1) / n)
    level = error > 1e-12 * (np.abs(u).max(0) + 1e-300)
    t = np.where(level, mean / np.where(level, error, 1.0), np.sign(mean) * np.where(np.abs(mean) > 0, np.inf, 0.0))
    counts = resample_counts(n, DRAWS)
    z = u - mean
    shift = counts @ z / n
    spread = np.sqrt(np.maximum(counts @ (z * z) / n - shift**2, 0.0) / (n - 1))
    good = spread > 1e-6 * error
    drawn = np.where(good, shift / np.where(good, spread, 1.0), 0.0)
    return Studentised(t, drawn, (good.mean(0) >= 1 - FLAT) & (n >= BOOTSTRAP_FROM), n)


def p_values(s: Studentised, side: Literal["both", "above"] = "both") -> np.ndarray:
    """p-values [columns] for mean = 0 against mean != 0 (`both`) or mean > 0 (`above`).

    Share of resamples that reach the statistic. The outermost `TAIL` of `DRAWS` resamples only anchor Student's tail,
    which is followed beyond them, so that a correction for many comparisons does not end at 1 / draws. It is Student's
    test below `BOOTSTRAP_FROM` units and where more than `FLAT` of the resamples have no spread.
    """
    t, drawn = (np.abs(s.t), np.abs(s.drawn)) if side == "both" else (s.t, s.drawn)
    student = two_sided_p if side == "both" else upper_p
    share = ((drawn >= t).sum(0) + 1) / (DRAWS + 1)
    anchor = np.partition(drawn, DRAWS - TAIL, axis=0)[DRAWS - TAIL]
    tail = TAIL / (DRAWS + 1) * student(t, s.units - 1) / np.maximum(student(anchor, s.units - 1), 1e-300)
    p = np.where(t > anchor, np.minimum(tail, share), share)
    return np.where(s.usable, p, student(t, s.units - 1))


def bootstrap_p(u: np.ndarray, side: Literal["both", "above"] = "both") -> np.ndarray:
    """p-values [columns] of `p_values` for pseudo-values u [units >= 2, columns]."""
    return p_values(studentised(u), side)


def step_down(t: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """p-values [columns], adjusted so that the chance of any false rejection is the level, from statistics t [columns].

    drawn [draws, columns]: their joint distribution where all hypotheses are true; large values speak against one. Each
    statistic is compared with the greatest of those not larger than it, so what is rejected first no longer counts.

    Source: Romano & Wolf 2005 (Econometrica 73), algorithm 4.1 with the studentised bootstrap; Westfall & Young 1993.
    """
    order = np.argsort(-t, kind="stable")
    greatest = np.maximum.accumulate(drawn[:, order[::-1]], axis=1)[:, ::-1]
    share = ((greatest >= t[order]).sum(0) + 1) / (len(drawn) + 1)
    out = np.empty(len(t))
    out[order] = np.maximum.accumulate(share)
    return out
