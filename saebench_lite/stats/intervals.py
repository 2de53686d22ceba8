"""Weighted means and their intervals. numpy and scipy.special only.

Units (datasets, concepts, blocks of text) are the clusters: what is resampled is whole units with all their seeds.
Their spread already holds the spread of seeds within them, so drawing seeds again inside a drawn unit would count
that part twice (Davison & Hinkley 1997, section 3.8, strategy 1).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from saebench_lite.stats.seeds import rng
from saebench_lite.stats.student_t import t_quantile

BOOTSTRAP_FROM = 6
"Units from which the bootstrap is used; with fewer, resamples repeat too much and Student's t stands in."


SHOWN_FROM = 12
"""Units from which an interval over them is shown, and tables make marks and scales of them: with fewer it does not
hold what it should for every metric (results/simulations/coverage.md)."""


FLAT = 0.02
"Share of resamples without spread up to which they are left out."


FEW = 30
"Units below which SAEs are not ranked, and equal values may forbid an interval."


SAME = 1e-6
"Relative difference below which two values of a unit are equal: records hold 9 digits, models float32."


class Estimate(NamedTuple):
    """A mean with its 95 % interval."""

    value: float
    low: float | None
    "None where there are too few units to say."
    high: float | None
    n: int
    "Units (datasets, concepts, document blocks) with a value."
    per_seed: tuple[float, ...]


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> float:
    """sum(w v) / sum(w) over finite entries; NaN if there are none or all their weights are zero."""
    ok = np.isfinite(values)
    total = weights[ok].sum()
    return float((values[ok] * weights[ok]).sum() / total) if total > 0 else float("nan")


def collapse(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and summed weight [units] over the seeds of each unit; NaN and 0 where no seed is finite.

    The weighted mean of the result is the weighted mean of the whole table.
    """
    w = np.where(np.isfinite(values), weights, 0.0)
    total = w.sum(1)
    x = (np.where(np.isfinite(values), values, 0.0) * w).sum(1) / np.where(total > 0, total, 1.0)
    return np.where(total > 0, x, np.nan), total


def too_alike(x: np.ndarray) -> bool:
    """Whether values x [units] are too few and too alike for an interval.

    Fewer than `FEW` of which more than 30 % are equal: the rest are too few to show the tail. By this rule intervals of
    absorption, 0 for most letters of some SAEs, cover 94 to 96 % (`tests/experiments/rank_coverage.py`).
    """
    n = len(x)
    if not 0 < n < FEW:
        return False
    same = np.abs(x[:, None] - x[None, :]) <= SAME * np.maximum(np.abs(x[:, None]), np.abs(x[None, :]))
    return bool(same.sum(1).max() > max(1.0, 0.3 * n))


@lru_cache(maxsize=16)
def resample_counts(n: int, draws: int, seed: int = 0) -> np.ndarray:
    """How often each of n units is drawn in each resample with replacement. [draws, n] float64, read-only"""
    picked = rng("bootstrap", seed, n).integers(n, size=(draws, n))
    flat = np.bincount((picked + n * np.arange(draws)[:, None]).ravel(), minlength=draws * n)
    counts = flat.reshape(draws, n).astype(np.float64)
    counts.setflags(write=False)
    return counts


def influence(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """(n - 1) (mean - mean without unit i) of the weighted mean of x [units] with weights w [units], both finite.

    Their sample variance over n is the jackknife variance of the weighted mean (Efron & Tibshirani 1993, chapter 11),
    in which a heavy unit counts for how far it pulls the mean towards itself.
    """
    rest = w.sum() - w
    mean = (w * x).sum() / w.sum()
    return (len(x) - 1) * w * (x - mean) / np.where(rest > 0, rest, 1.0)


def standard_error(x: np.ndarray, w: np.ndarray) -> float:
    """Jackknife standard error of a weighted mean; with equal weights s / sqrt(n)."""
    e = influence(x, w)
    return float(np.sqrt((e**2).sum() / (len(x) * (len(x) - 1))))


def interval(
    x: np.ndarray,
    w: np.ndarray,
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    symmetric: bool = False,
) -> tuple[float, float]:
    """(low, high) of the weighted mean of independent units.

    Bootstrap-t (Efron & Tibshirani 1993, section 12.5): resampled units give the distribution of
    (mean* - mean) / se*, and its quantiles take the place of Student's. It is Student's interval below
    `BOOTSTRAP_FROM` units and where more than `FLAT` of the resamples have no spread (nearly all units alike).

    Args:
        x: values of independent units. [n >= 2]
        w: their weights. [n]
        draws: bootstrap resamples.
        level: coverage.
        seed: of the resamples.
        symmetric: whether both ends are as far from the mean, by the quantile of |mean* - mean| / se*: for differences,
            whose distribution has two long tails, and whose two-sided p-value asks for the same quantile (Hall 1988).
    """
    n, tail = len(x), (1 - level) / 2
    mean, error = (w * x).sum() / w.sum(), standard_error(x, w)
    half = t_quantile(1 - tail, n - 1) * error
    if n < BOOTSTRAP_FROM or error == 0:
        return float(mean - half), float(mean + half)
    z = x - mean
    sums = resample_counts(n, draws, seed) @ np.stack([w, w * z, w * w, w * w * z, w * w * z * z], axis=1)
    total = np.where(sums[:, 0] > 0, sums[:, 0], np.nan)
    shift = sums[:, 1] / total
    square = np.maximum(sums[:, 4] - 2 * shift * sums[:, 3] + shift**2 * sums[:, 2], 0.0)
    spread = np.sqrt(n / (n - 1) * square) / total
    usable = spread > 1e-6 * error
    if usable.mean() < 1 - FLAT:
        return float(mean - half), float(mean + half)
    t = shift[usable] / spread[usable]
    if symmetric:
        half = np.quantile(np.abs(t), level) * error
        return float(mean - half), float(mean + half)
    low, high = np.quantile(t, [tail, 1 - tail])
    return float(mean - high * error), float(mean - low * error)


def estimate(
    values: np.ndarray, weights: np.ndarray | None = None, *, draws: int = 1000, level: float = 0.95, seed: int = 0
) -> Estimate:
    """Weighted mean and its interval over units, by `interval`.

    Needs at least two units, else the interval is None. A mean of ratios weighted
    by their denominators is the pooled ratio.

    Args:
        values: [units, seeds], NaN where missing.
        weights: of the same shape; 1 by default.
        draws: bootstrap resamples.
        level: coverage.
        seed: of the resamples.
    """
    values = np.asarray(values, dtype=np.float64)
    weights = np.ones_like(values) if weights is None else np.asarray(weights, dtype=np.float64)
    per_seed = tuple(weighted_mean(values[:, s], weights[:, s]) for s in range(values.shape[1]))
    x, w = collapse(values, weights)
    known = np.isfinite(x)
    units = int(np.isfinite(values).any(axis=1).sum())
    point = weighted_mean(values, weights)
    if known.sum() < 2:
        return Estimate(point, None, None, units, per_seed)
    low, high = interval(x[known], w[known], draws=draws, level=level, seed=seed)
    return Estimate(point, low, high, units, per_seed)
