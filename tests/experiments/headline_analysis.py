"""How candidates for a headline follow the truth: pure functions of arrays [levels of L0, architectures].

An architecture is the unit that is drawn: its SAEs at several L0 levels, in several worlds and on texts of several
lengths come and go together. Levels, worlds and lengths are fixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from saebench_lite.audit import within as package
from saebench_lite.audit.constructs import Interval
from saebench_lite.audit.within import spreads, within
from saebench_lite.stats.rank_correlation import spearman

COMPOSED = ("mcc", "best_ap", "best_tuned_f1")
"Truths that do not read where a code is 0; the composite is their mean rank."
TRUTHS = ("composite", *COMPOSED, "feature_f1", "f1")


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


def resolved(x: np.ndarray) -> tuple[float, float]:
    """Spread over levels of one architecture, and over architectures of one level, over the noise of one seed.

    Root mean squares of standard deviations: of the mean over seeds along an axis; of seeds about their mean. The
    spread holds the noise of that mean. x [seeds, levels, architectures]; infinite where seeds agree.
    """
    noise = np.sqrt(x.var(0, ddof=1).mean())
    over_levels, over_architectures = (s / noise if noise > 0 else float("inf") for s in spreads(x.mean(0)))
    return float(over_levels), float(over_architectures)


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


def pooled(sites: Sequence[Arranged], candidates: Sequence[str], truth: str) -> dict[str, Interval]:
    """{candidate: mean over sites of the correlation within L0 levels, interval over architectures}."""
    return package.pooled(_sites(sites, truth), candidates)


def lead(sites: Sequence[Arranged], first: str, rivals: Sequence[str], truth: str) -> dict[str, Interval]:
    """{rival: how much further the first candidate follows the truth than it}, as in `pooled`."""
    return package.leads(_sites(sites, truth), first, rivals)


def _sites(sites: Sequence[Arranged], truth: str) -> list[package.Site]:
    return [package.Site({c: x.mean(0) for c, x in a.scores.items()}, a.truth[truth]) for a in sites]
