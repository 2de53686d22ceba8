"""How far a score moves when only the evaluation's seed changes. Pure functions of numpy arrays.

Source: reseed coefficient of variation and the minimum reliable difference of two scores; the pooled form is the
textbook two-sample half width t(0.975, df) s sqrt(2 / r) (e.g. Montgomery, Design and Analysis of Experiments, the
least significant difference).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from saebench_lite.stats.student_t import t_quantile


class Noise(NamedTuple):
    """Reseed noise of one metric, pooled over subjects."""

    sd: float
    "Of one score from one seed."
    cv: float | None
    "sd / |mean score|; None where the mean is 0."
    mrd: float
    "Least difference of two scores, each a mean over `seeds` seeds, that reseeding alone does not explain."
    df: int
    seeds: int


def sample_sd(scores: np.ndarray) -> float | None:
    """Standard deviation (n - 1) of one subject's scores [seeds]; None below two finite ones."""
    finite = scores[np.isfinite(scores)]
    return float(finite.std(ddof=1)) if len(finite) > 1 else None


def coefficient_of_variation(scores: np.ndarray) -> float | None:
    """s / |mean| of scores [seeds]; None below two finite ones or with mean 0."""
    s, mean = sample_sd(scores), float(np.nanmean(scores)) if np.isfinite(scores).any() else 0.0
    return None if s is None or mean == 0 else s / abs(mean)


def pooled_sd(groups: Sequence[np.ndarray]) -> tuple[float, int]:
    """(s, df) of groups of scores [seeds]: s² is the mean of their variances weighted by df, df = scores - groups."""
    repeated = [g[np.isfinite(g)] for g in groups]
    repeated = [g for g in repeated if len(g) > 1]
    df = sum(len(g) - 1 for g in repeated)
    total = sum(float(((g - g.mean()) ** 2).sum()) for g in repeated)
    return (float(np.sqrt(total / df)) if df else float("nan")), df


def reliable_difference(sd: float, df: int, seeds: int, level: float = 0.95) -> float:
    """Minimum reliable difference of two means over `seeds` seeds each: t((1 + level) / 2, df) sd sqrt(2 / seeds).

    Args:
        sd: of one score under one seed.
        df: degrees of freedom of sd.
        seeds: seeds that each mean is over.
        level: confidence.
    """
    return t_quantile(0.5 + level / 2, df) * sd * float(np.sqrt(2 / seeds))


def reseed_noise(groups: Sequence[np.ndarray]) -> Noise | None:
    """Noise of a metric from the scores [seeds] of one subject or several; None if nobody has two seeds.

    With unequal numbers of seeds the smallest counts for the reliable difference.
    """
    sd, df = pooled_sd(groups)
    if df == 0:
        return None
    repeated = [g[np.isfinite(g)] for g in groups if np.isfinite(g).sum() > 1]
    mean = abs(float(np.mean([g.mean() for g in repeated])))
    seeds = min(len(g) for g in repeated)
    return Noise(sd, sd / mean if mean > 0 else None, reliable_difference(sd, df, seeds), df, seeds)
