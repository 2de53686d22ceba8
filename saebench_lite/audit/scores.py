"""Scores of records, turned so that higher is better, with their noise. Pure functions of records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from saebench_lite.records.arrays import unit_scores
from saebench_lite.records.metric import higher_is_better
from saebench_lite.records.record import Record
from saebench_lite.stats.intervals import collapse, standard_error
from saebench_lite.stats.reseed_noise import pooled_sd


class SignedScore(NamedTuple):
    """One metric of one subject, higher meaning better; NaN, empty and None where missing."""

    value: float
    per_seed: np.ndarray
    error: float | None
    "Standard error over units."


def signed_score(record: Record, metric: str) -> SignedScore:
    """A metric of a record, turned so that higher is better; ValueError for a metric without a direction."""
    score = record.scores.get(metric)
    if score is None:
        return SignedScore(float("nan"), np.empty(0), None)
    known = [score.value, *(v for v in score.per_seed if v is not None)]
    values = higher_is_better(np.array(known), record.task.metrics[metric].better, score.value)
    if values is None:
        raise ValueError(f"metric {metric!r} has no direction")
    return SignedScore(float(values[0]), values[1:], _error_over_units(record, metric))


def _error_over_units(record: Record, metric: str) -> float | None:
    """Standard error of the weighted mean over the units stored in a record.

    Not out of the interval: its ends are a bootstrap-t's or Student's, skewed, and cut at the metric's range.
    """
    named = unit_scores(record, metric)
    if named is None:
        return None
    x, w = collapse(*named.scores)
    known = np.isfinite(x)
    return standard_error(x[known], w[known]) if known.sum() > 1 else None


def noise_sd(scored: Sequence[SignedScore]) -> float | None:
    """Sd over evaluation seeds, pooled over subjects; where seeds agree or there are none, the root mean square of the
    standard errors over units; None where neither is known.
    """
    sd, df = pooled_sd([s.per_seed for s in scored])
    if df > 0 and sd > 0:
        return sd
    errors = [s.error for s in scored if s.error is not None]
    return float(np.sqrt(np.mean(np.square(errors)))) if errors else None
