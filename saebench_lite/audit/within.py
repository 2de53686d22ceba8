"""How scores follow the truth within levels of L0: pure functions of arrays [levels, architectures].

Architectures are what is drawn for an interval: the SAEs of one architecture at all L0 levels (in all worlds, where
there are several) come and go together. Levels and worlds are fixed. Source: cluster bootstrap, Davison & Hinkley 1997,
Bootstrap Methods and their Application, section 3.8; percentile ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from saebench_lite.audit.constructs import LEVEL, Interval
from saebench_lite.audit.correlations import bootstrap_spearman, mean_rank
from saebench_lite.stats.rank_correlation import spearman

SEED = "headline"
"Names the bootstrap's draws, the same for all metrics, levels and worlds."


class Site(NamedTuple):
    """Scores and truth of one panel."""

    scores: Mapping[str, np.ndarray]
    "{metric: [levels, architectures]}, higher is better"
    truth: np.ndarray
    "[levels, architectures]"


def composite(truths: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over truths [levels, architectures] of the ranks among all SAEs. [levels, architectures]"""
    table = np.stack([truth.ravel() for truth in truths])
    return mean_rank(table).reshape(truths[0].shape)


def within(x: np.ndarray, y: np.ndarray) -> float:
    """Mean over rows of Spearman's correlation of a score x and the truth y [rows, columns].

    0 in a row where the score is constant, which orders nothing; rows where the truth is constant are left out.
    """
    values = np.array([0.0 if np.ptp(a) == 0 < np.ptp(b) else spearman(a, b) for a, b in zip(x, y, strict=True)])
    return float(_mean_of_finite(values))


def within_draws(xs: Sequence[np.ndarray], y: np.ndarray) -> np.ndarray:
    """`within` of each of xs with y [rows, columns] under columns drawn with replacement: [draws, len(xs)]."""
    rows = [bootstrap_spearman([x[i] for x in xs], y[i], SEED) for i in range(len(y))]
    return _mean_of_finite(np.stack(rows))


def pooled(sites: Sequence[Site], metrics: Sequence[str]) -> dict[str, Interval]:
    """{metric: mean over sites of its correlation with the truth within L0 levels}."""
    values, draws = _over_sites(sites, metrics)
    return {m: _interval(values[i], draws[:, i]) for i, m in enumerate(metrics)}


def leads(sites: Sequence[Site], first: str, rivals: Sequence[str]) -> dict[str, Interval]:
    """{rival: by how much `first`'s correlation is above it}, as in `pooled`; one draw serves both."""
    values, draws = _over_sites(sites, [first, *rivals])
    gap, drawn = values[0] - values, draws[:, :1] - draws
    return {r: _interval(gap[i], drawn[:, i]) for i, r in enumerate(rivals, 1)}


def spreads(x: np.ndarray) -> tuple[float, float]:
    """Standard deviation over the levels of one architecture, and over the architectures at one level.

    Root mean squares over architectures and over levels; NaN below two of them. x [levels, architectures]
    """
    over_levels, over_architectures = (
        float(np.sqrt(x.var(axis, ddof=1).mean())) if x.shape[axis] > 1 else float("nan") for axis in (0, 1)
    )
    return over_levels, over_architectures


def _over_sites(sites: Sequence[Site], metrics: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Values [metrics] and draws [draws, metrics] of `within`, means over sites."""
    values, draws = [], []
    for site in sites:
        xs = [site.scores[m] for m in metrics]
        values.append(np.array([within(x, site.truth) for x in xs]))
        draws.append(within_draws(xs, site.truth))
    return _mean_of_finite(np.stack(values)), _mean_of_finite(np.stack(draws))


def _interval(value: float, draws: np.ndarray) -> Interval:
    """The value with the middle 95 % of the draws that are finite; NaN ends where none is."""
    known = draws[np.isfinite(draws)]
    if not len(known):
        return Interval(float(value), float("nan"), float("nan"))
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(value), float(low), float(high))


def _mean_of_finite(stack: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is finite, NaN where nothing is."""
    finite = np.isfinite(stack)
    total, count = np.where(finite, stack, 0.0).sum(0), finite.sum(0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
