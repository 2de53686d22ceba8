"""How far a score moves when only the evaluation's seed changes. Pure functions of numpy arrays.

Source: reseed coefficient of variation and the minimum reliable difference of two scores; the pooled form is the
textbook two-sample half width t(0.975, df) s sqrt(2 / r) (e.g. Montgomery, Design and Analysis of Experiments, the
least significant difference). Where seeds do not redraw the texts that are judged, their sampling is a second source
of noise, which adds in squares (Bouthillier et al. 2021, MLSys, on seeds and data as separate sources of variance).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from saebench_lite.stats.student_t import normal_quantile, t_quantile


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
    sampling: float | None = None
    "sd of one score under other test texts, root mean square over subjects; None where it is not known."

    @property
    def drawn(self) -> bool:
        """Whether reseeding changes any score; False for a task without random numbers and where all seeds agree."""
        return self.sd > 0


def sample_sd(scores: np.ndarray) -> float | None:
    """Standard deviation (n - 1) of one subject's scores [seeds]; None below two finite ones."""
    finite = scores[np.isfinite(scores)]
    return float((finite - finite[0]).std(ddof=1)) if len(finite) > 1 else None  # exactly 0 where all agree


def coefficient_of_variation(scores: np.ndarray) -> float | None:
    """s / |mean| of scores [seeds]; None below two finite ones or with mean 0."""
    s, mean = sample_sd(scores), float(np.nanmean(scores)) if np.isfinite(scores).any() else 0.0
    return None if s is None or mean == 0 else s / abs(mean)


def pooled_sd(groups: Sequence[np.ndarray]) -> tuple[float, int]:
    """(s, df) of groups of scores [seeds]: s² is the mean of their variances weighted by df, df = scores - groups."""
    repeated = [g[np.isfinite(g)] for g in groups]
    repeated = [g - g[0] for g in repeated if len(g) > 1]  # exactly 0 where all agree
    df = sum(len(g) - 1 for g in repeated)
    total = sum(float(((g - g.mean()) ** 2).sum()) for g in repeated)
    return (float(np.sqrt(total / df)) if df else float("nan")), df


def sampling_sd(errors: np.ndarray, weights: np.ndarray) -> float:
    """sd of a weighted mean of units whose values have independent standard errors: sqrt(sum (w e)²) / sum w.

    errors, weights [units]; units whose error is NaN are left out. NaN if none is left.
    """
    ok = np.isfinite(errors)
    total = weights[ok].sum()
    return float(np.sqrt(((weights[ok] * errors[ok]) ** 2).sum()) / total) if total > 0 else float("nan")


def reliable_difference(sd: float, df: int, seeds: int, level: float = 0.95, sampling: float | None = None) -> float:
    """Minimum reliable difference of two means over `seeds` seeds each.

    sqrt(reseed² + sampling²) with reseed = t((1 + level) / 2, df) sd sqrt(2 / seeds), for the sd is estimated from few
    seeds, and sampling = z((1 + level) / 2) sd sqrt(2), for more seeds on the same texts do not make it smaller. Two
    subjects are judged on the same texts, so their sampling errors mostly share a sign, and the second term errs on the
    safe side. Where seeds redraw the texts the first holds a part of their sampling too, which is then counted twice.

    Args:
        sd: of one score under one seed.
        df: degrees of freedom of sd.
        seeds: seeds that each mean is over.
        level: confidence.
        sampling: sd of one score under other test texts; None where it is not known.
    """
    reseed = t_quantile(0.5 + level / 2, df) * sd * float(np.sqrt(2 / seeds)) if df else 0.0
    return float(np.hypot(reseed, normal_quantile(0.5 + level / 2) * np.sqrt(2) * (sampling or 0.0)))


def reseed_noise(groups: Sequence[np.ndarray], sampling: Sequence[float] = ()) -> Noise | None:
    """Noise of a metric from the scores [seeds] of one subject or several; None if nobody has two seeds.

    With unequal numbers of seeds the smallest counts for the reliable difference. `sampling`: each subject's
    `sampling_sd`, where unit values come with standard errors.
    """
    sd, df = pooled_sd(groups)
    if df == 0:
        return None
    repeated = [g[np.isfinite(g)] for g in groups if np.isfinite(g).sum() > 1]
    mean = abs(float(np.mean([g.mean() for g in repeated])))
    seeds = min(len(g) for g in repeated)
    texts = float(np.sqrt(np.mean(np.square(sampling)))) if len(sampling) else None
    difference = reliable_difference(sd, df, seeds, sampling=texts)
    return Noise(sd, sd / mean if mean > 0 else None, difference, df, seeds, texts)
