"""Seeds by name, weighted means and the two-level bootstrap. Standard library and numpy only."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np


def derive_seed(*names: object) -> int:
    """A 63-bit seed from what the randomness is allowed to depend on; the order of other draws never matters."""
    digest = hashlib.sha256("\x1f".join(str(n) for n in names).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def rng(*names: object) -> np.random.Generator:
    """A numpy generator seeded by `derive_seed`."""
    return np.random.default_rng(derive_seed(*names))


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


def estimate(
    values: np.ndarray, weights: np.ndarray | None = None, *, draws: int = 1000, level: float = 0.95, seed: int = 0
) -> Estimate:
    """Weighted mean of values [units, seeds] (NaN: missing) and its percentile interval.

    Two-level bootstrap: units are drawn with replacement, then seeds within each drawn unit (Davison & Hinkley 1997,
    section 3.8). Needs at least two units, else the interval is None. `weights` has the shape of `values`; a mean of
    ratios weighted by their denominators is the pooled ratio.
    """
    values = np.asarray(values, dtype=np.float64)
    weights = np.ones_like(values) if weights is None else np.asarray(weights, dtype=np.float64)
    per_seed = tuple(weighted_mean(values[:, s], weights[:, s]) for s in range(values.shape[1]))
    point = weighted_mean(values, weights)
    finite = np.isfinite(values)
    units = int(finite.any(axis=1).sum())
    if units < 2:
        return Estimate(point, None, None, units, per_seed)
    keep = finite.any(axis=1)
    v, w = np.where(finite, values, 0.0)[keep], np.where(finite, weights, 0.0)[keep]
    draw = rng("bootstrap", seed, *v.shape)
    picked = draw.integers(len(v), size=(draws, len(v)))
    within = draw.integers(v.shape[1], size=(draws, len(v), v.shape[1]))
    vv, ww = v[picked[:, :, None], within], w[picked[:, :, None], within]
    total = ww.sum((1, 2))
    means = (vv * ww).sum((1, 2))[total > 0] / total[total > 0]
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Estimate(point, float(low), float(high), units, per_seed)
