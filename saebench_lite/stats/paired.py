"""Paired comparison of scores on the same units: difference, interval, p-values, wins. Pure functions of arrays.

Every comparison is brought to one number a unit: its jackknife pseudo-value of the difference of the two weighted
means. For equal weights that is the plain difference of the unit.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from saebench_lite.stats.bootstrap_t import bootstrap_p
from saebench_lite.stats.intervals import SAME, collapse, influence, interval, too_alike, weighted_mean
from saebench_lite.stats.seeds import derive_seed

EXACT_UNITS = 12


PERMUTATIONS = 10_000


class UnitScores(NamedTuple):
    """One metric of one subject. NaN where a unit or seed is missing."""

    values: np.ndarray
    "[units, seeds]"
    weights: np.ndarray
    "[units, seeds]"


class Paired(NamedTuple):
    """a minus b. Signs are those of the metric, not of its direction."""

    difference: float
    low: float | None
    "None below two units and where `too_alike`."
    high: float | None
    p: float | None
    "Bootstrap-t, two-sided; None below two units."
    p_permutation: float | None
    "Sign flips, two-sided."
    above: int
    "Units where a is above b by more than their own seed noise."
    equal: int
    below: int
    n: int


def paired(a: UnitScores, b: UnitScores, *, by_seed: bool = True) -> Paired:
    """Compares two subjects on the units (rows) both have; rows and, if `by_seed`, columns mean the same in both.

    With `by_seed` only (unit, seed) pairs finite in both count; else each unit is averaged over its own seeds first,
    for scores under different seeds.
    """
    a, b = on_both(a, b, by_seed)
    (xa, wa), (xb, wb) = collapse(*a), collapse(*b)
    n = len(xa)
    difference = weighted_mean(xa, wa) - weighted_mean(xb, wb)
    same = alike(xa, xb)
    tie = same | (np.abs(xa - xb) <= unit_noise(a, b, by_seed))
    above, below = int((~tie & (xa > xb)).sum()), int((~tie & (xa < xb)).sum())
    if n < 2:
        return Paired(difference, None, None, None, None, above, n - above - below, below, n)
    if same.all():
        return Paired(difference, difference, difference, 1.0, 1.0, above, n - above - below, below, n)
    u = pseudo_values(xa, wa, xb, wb)
    flip = permutation_p(contributions(xa, wa, xb, wb))
    p = bootstrap_p(u[:, None])[0] if np.ptp(u) > 0 else flip
    low, high = (None, None) if too_alike(xa - xb) else interval(u, np.ones(n), symmetric=True)
    return Paired(difference, low, high, float(p), flip, above, n - above - below, below, n)


def on_both(a: UnitScores, b: UnitScores, by_seed: bool) -> tuple[UnitScores, UnitScores]:
    """Both scores on the units where both have a value and, with `by_seed`, without values under one seed alone."""
    if by_seed:
        both = np.isfinite(a.values) & np.isfinite(b.values)
        a, b = (UnitScores(np.where(both, c.values, np.nan), c.weights) for c in (a, b))
    keep = np.isfinite(collapse(*a)[0]) & np.isfinite(collapse(*b)[0])
    return UnitScores(a.values[keep], a.weights[keep]), UnitScores(b.values[keep], b.weights[keep])


def alike(xa: np.ndarray, xb: np.ndarray) -> np.ndarray:
    """Whether values of a and b agree to their rounding. xa, xb [units]"""
    return np.abs(xa - xb) <= SAME * np.maximum(np.abs(xa), np.abs(xb))


def unit_noise(a: UnitScores, b: UnitScores, by_seed: bool) -> np.ndarray:
    """Standard error over seeds of each unit's difference [units]; 0 where there is one seed, which shows no noise."""

    def square(v: np.ndarray) -> np.ndarray:
        finite = np.isfinite(v)
        r = finite.sum(1)
        mean = np.where(finite, v, 0.0).sum(1) / np.maximum(r, 1)
        spread = (np.where(finite, v - mean[:, None], 0.0) ** 2).sum(1) / np.maximum(r - 1, 1)
        return np.where(r > 1, spread / np.maximum(r, 1), 0.0)

    return np.sqrt(square(a.values - b.values) if by_seed else square(a.values) + square(b.values))


def pseudo_values(xa: np.ndarray, wa: np.ndarray, xb: np.ndarray, wb: np.ndarray) -> np.ndarray:
    """Jackknife pseudo-values [units] of mean_a - mean_b, centred so that their mean is that difference.

    Args:
        xa: values of a. [units]
        wa: their weights. [units]
        xb: values of b. [units]
        wb: their weights. [units]
    """
    e = influence(xa, wa) - influence(xb, wb)
    return e - e.mean() + (weighted_mean(xa, wa) - weighted_mean(xb, wb))  # so that b - a is its exact opposite


def contributions(xa: np.ndarray, wa: np.ndarray, xb: np.ndarray, wb: np.ndarray) -> np.ndarray:
    """Each unit's share [units] of mean_a - mean_b, which changes sign when a and b change places in that unit.

    Args:
        xa: values of a. [units]
        wa: their weights. [units]
        xb: values of b. [units]
        wb: their weights. [units]
    """
    centre = (weighted_mean(xa, wa) + weighted_mean(xb, wb)) / 2
    return len(xa) * (wa * (xa - centre) / wa.sum() - wb * (xb - centre) / wb.sum())


@lru_cache(maxsize=8)
def _signs(n: int) -> np.ndarray:
    """All 2^n sign vectors, or `PERMUTATIONS` drawn ones. [draws, n] of -1 and 1"""
    if n <= EXACT_UNITS:
        return 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    draw = np.random.default_rng(derive_seed("sign flips", n))
    return 1.0 - 2.0 * draw.integers(2, size=(PERMUTATIONS, n))


def permutation_p(g: np.ndarray) -> float:
    """Two-sided sign-flip p-value for contributions g [units]: exact up to `EXACT_UNITS` units, else from random flips.

    Source: Fisher 1935, section 21; drawn permutations count themselves once (Phipson & Smyth 2010).
    """
    reached = np.abs(_signs(len(g)) @ g) >= abs(g.sum()) * (1 - 1e-12)
    extra = 0 if len(g) <= EXACT_UNITS else 1
    return float((reached.sum() + extra) / (len(reached) + extra))


def holm(p: np.ndarray, same: Sequence[int] | None = None) -> np.ndarray:
    """Adjusted p-values (Holm 1979) of p [m]; NaN entries are no tests and stay NaN.

    Args:
        p: p-values. [m]
        same: the place of the first entry that is the very same test, which counts once; by default all are others.
    """
    p = np.asarray(p, dtype=np.float64)
    firsts = np.arange(len(p)) if same is None else np.asarray(same, dtype=np.intp)
    out = np.full_like(p, np.nan)
    tests = np.flatnonzero(np.isfinite(p) & (firsts == np.arange(len(p))))
    order = tests[np.argsort(p[tests], kind="stable")]
    out[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return out[firsts]


def first_of_each(tests: Sequence[Hashable | None]) -> list[int]:
    """The place of the first that equals each of `tests`; None equals nothing."""
    firsts: dict[Hashable, int] = {}
    return [i if test is None else firsts.setdefault(test, i) for i, test in enumerate(tests)]


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Adjusted p-values of p [m], all finite: the false discovery rate at which each is rejected.

    Holds for tests that are independent (Benjamini & Hochberg 1995) or positively dependent (Benjamini & Yekutieli
    2001).
    """
    order = np.argsort(-p, kind="stable")
    scaled = p[order] * len(p) / np.arange(len(p), 0, -1)
    out = np.empty(len(p))
    out[order] = np.minimum(1.0, np.minimum.accumulate(scaled)) if len(p) else scaled
    return out
