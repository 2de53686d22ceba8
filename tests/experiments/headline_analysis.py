"""How candidates for a headline follow the truth: pure functions of arrays [levels of L0, architectures].

An architecture is the unit that is drawn: its SAEs at several L0 levels, in several worlds and on texts of several
lengths come and go together. Levels, worlds and lengths are fixed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from saebench_lite.audit.correlations import bootstrap_spearman, mean_rank, spearman

COMPOSED = ("mcc", "best_ap", "best_tuned_f1")
"Truths that do not read where a code is 0; the composite is their mean rank."
TRUTHS = ("composite", *COMPOSED, "feature_f1", "f1")
SEED = "headline"
"Names the bootstrap's draws, the same in all worlds and for all candidates."


class Arranged(NamedTuple):
    """One panel at one site."""

    scores: dict[str, np.ndarray]
    "{candidate: [seeds, levels, architectures]}"
    random: dict[str, np.ndarray]
    "The same of the matched random dictionaries. [at least 1 seed, levels, architectures]"
    oracle: dict[str, float]
    truth: dict[str, np.ndarray]
    "{truth: [levels, architectures]}, the composite among them"
    l0: np.ndarray
    "[levels, architectures]"


class Figures(NamedTuple):
    """What one candidate does at one site; Spearman correlations over SAEs."""

    within_level: dict[str, float]
    "{truth: mean over L0 levels of the correlation within it}"
    overall: dict[str, float]
    "{truth: correlation over all SAEs}"
    within_architecture: dict[str, float]
    "{truth: mean over architectures of the correlation over its L0 levels}"
    with_l0: float
    minus_random_within: float
    "As `within_level` of the composite, of the score minus that of the matched random dictionary."
    minus_random_overall: float
    resolved_l0: float
    "Spread over L0 levels of one architecture, in standard deviations of a reseeded score."
    resolved_architectures: float
    "The same over architectures at one level."
    oracle: float
    mean: float
    worst: float
    best_random: float
    above_random: float
    "Share of SAEs above their matched random dictionary."


def composite(truth: Mapping[str, np.ndarray]) -> np.ndarray:
    """Mean rank over `COMPOSED`. [levels, architectures]"""
    table = np.stack([truth[name].ravel() for name in COMPOSED])
    return mean_rank(table).reshape(truth[COMPOSED[0]].shape)


def within(x: np.ndarray, y: np.ndarray) -> float:
    """Mean over rows of Spearman's correlation of x and y [rows, columns]; rows where one is constant are left out."""
    values = np.array([spearman(a, b) for a, b in zip(x, y, strict=True)])
    return float(values[np.isfinite(values)].mean()) if np.isfinite(values).any() else float("nan")


def within_draws(xs: Sequence[np.ndarray], y: np.ndarray) -> np.ndarray:
    """`within` of each of xs with y [rows, columns] under columns drawn with replacement: [draws, len(xs)]."""
    rows = [bootstrap_spearman([x[i] for x in xs], y[i], SEED) for i in range(len(y))]
    return _mean_of_finite(np.stack(rows))


def _mean_of_finite(stack: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is finite, NaN where nothing is."""
    finite = np.isfinite(stack)
    total, count = np.where(finite, stack, 0.0).sum(0), finite.sum(0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def interval(draws: np.ndarray) -> tuple[float, float]:
    """Ends of the middle 95 % of draws that are finite."""
    low, high = np.nanpercentile(draws, [2.5, 97.5])
    return float(low), float(high)


def resolved(x: np.ndarray) -> tuple[float, float]:
    """Spread over levels of one architecture, and over architectures of one level, over the noise of one seed.

    Root mean squares of standard deviations: of the mean over seeds along an axis; of seeds about their mean. The
    spread holds the noise of that mean. x [seeds, levels, architectures]; infinite where seeds agree.
    """
    noise = np.sqrt(x.var(0, ddof=1).mean())
    mean = x.mean(0)
    spreads = (np.sqrt(mean.var(axis, ddof=1).mean()) for axis in (0, 1))
    over_levels, over_architectures = (float(s / noise) if noise > 0 else float("inf") for s in spreads)
    return over_levels, over_architectures


def figures_of(a: Arranged, candidate: str) -> Figures:
    """All figures of one candidate."""
    scores, random = a.scores[candidate], a.random[candidate]
    x, paired = scores.mean(0), scores[0] - random[0]
    levels, architectures = resolved(scores)
    return Figures(
        within_level={t: within(x, y) for t, y in a.truth.items()},
        overall={t: spearman(x.ravel(), y.ravel()) for t, y in a.truth.items()},
        within_architecture={t: within(x.T, y.T) for t, y in a.truth.items()},
        with_l0=spearman(x.ravel(), a.l0.ravel()),
        minus_random_within=within(paired, a.truth["composite"]),
        minus_random_overall=spearman(paired.ravel(), a.truth["composite"].ravel()),
        resolved_l0=levels,
        resolved_architectures=architectures,
        oracle=a.oracle[candidate],
        mean=float(x.mean()),
        worst=float(x.min()),
        best_random=float(random[0].max()),
        above_random=float((paired > 0).mean()),
    )


class Pooled(NamedTuple):
    """`within_level` of a candidate over sites, or a difference of two candidates'."""

    value: float
    low: float
    high: float


def pooled(sites: Sequence[Arranged], candidates: Sequence[str], truth: str) -> dict[str, Pooled]:
    """{candidate: mean over sites of the correlation within L0 levels, interval over architectures}."""
    values, draws = _over_sites(sites, candidates, truth)
    return {c: Pooled(float(values[i]), *interval(draws[:, i])) for i, c in enumerate(candidates)}


def lead(sites: Sequence[Arranged], first: str, rivals: Sequence[str], truth: str) -> dict[str, Pooled]:
    """{rival: how much further the first candidate follows the truth than it}, as in `pooled`."""
    values, draws = _over_sites(sites, [first, *rivals], truth)
    gap, drawn = values[0] - values, draws[:, :1] - draws
    return {r: Pooled(float(gap[i]), *interval(drawn[:, i])) for i, r in enumerate(rivals, 1)}


def _over_sites(sites: Sequence[Arranged], candidates: Sequence[str], truth: str) -> tuple[np.ndarray, np.ndarray]:
    """Values [candidates] and draws [draws, candidates] of `within`, means over sites."""
    values, draws = [], []
    for a in sites:
        xs = [a.scores[c].mean(0) for c in candidates]
        values.append(np.array([within(x, a.truth[truth]) for x in xs]))
        draws.append(within_draws(xs, a.truth[truth]))
    return _mean_of_finite(np.stack(values)), _mean_of_finite(np.stack(draws))
