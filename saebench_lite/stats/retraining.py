"""Is a new training run worse than earlier ones of a recipe? Student's prediction interval. Pure functions of arrays.

Runs of one recipe that differ in their training seed alone are draws from one distribution. Where the new run is one
more of them, (its score - mean of R earlier ones) / (s sqrt(1 + 1 / R)) follows Student's t with R - 1 degrees of
freedom (Hahn & Meeker 1991, Statistical Intervals, chapter 4); several new runs make it the two-sample t test. On
training seeds as a source of variance: Bouthillier et al. 2021 (MLSys).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from saebench_lite.stats.contrasts import POWER
from saebench_lite.stats.reseed_noise import pooled_sd
from saebench_lite.stats.student_t import normal_quantile, t_quantile, two_sided_p

MOST_SEEDS = 1000
"Training seeds above which a number of them is no advice."


class Retraining(NamedTuple):
    """Mean of the new scores minus mean of the earlier ones, and its noise."""

    difference: float
    error: float
    "Its standard error: that of training, or the evaluation's where that is larger."
    df: int
    sd: float
    "Of scores over training seeds, pooled over new and earlier ones."


def retraining(new: np.ndarray, earlier: np.ndarray, floor: float = 0.0) -> Retraining:
    """Difference and noise of new scores [m >= 1] and earlier ones [R >= 2], one a training seed.

    The spread of few seeds may be small by chance while each score is an estimate from units of its own; so the error
    is at least `floor`, the standard error of the difference over units. Degrees of freedom stay those of the seeds,
    which errs on the safe side. ValueError below two earlier scores.
    """
    if len(earlier) < 2:
        raise ValueError("the spread over training seeds takes at least two earlier scores")
    sd, df = pooled_sd([new, earlier])
    error = sd * float(np.sqrt(1 / len(new) + 1 / len(earlier)))
    return Retraining(float(new.mean() - earlier.mean()), max(error, floor), df, sd)


def retraining_p(r: Retraining, beyond: float = 0.0) -> float:
    """Two-sided p-value for a true difference of `beyond`; NaN without noise where the difference is another."""
    distance = r.difference - beyond
    if r.error == 0:
        return 1.0 if distance == 0 else float("nan")
    return float(two_sided_p(distance / r.error, r.df))


def seeds_needed(sd: float, new: int, earlier: int, distance: float, level: float = 0.05) -> int | None:
    """How many further seeds of each, new and earlier, find a difference of `distance` at `level`, chance 80 %.

    The least n with (t(1 - level / 2) + z(.8)) sd sqrt(1 / (new + n) + 1 / (earlier + n)) <= |distance|, t with new +
    earlier + 2 n - 2 degrees of freedom. None above `MOST_SEEDS` and for a distance of 0.

    Args:
        sd: of scores over training seeds.
        new: new runs so far.
        earlier: earlier runs so far.
        distance: of the true difference from what it is tested against.
        level: of the two-sided test.
    """
    for n in range(1, MOST_SEEDS + 1 if distance else 1):
        reach = t_quantile(1 - level / 2, new + earlier + 2 * n - 2) + normal_quantile(POWER)
        if reach * sd * np.sqrt(1 / (new + n) + 1 / (earlier + n)) <= abs(distance):
            return n
    return None
