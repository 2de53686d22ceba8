"""From a metric's values by unit and seed to its score: one rule for what is written and what is verified."""

from __future__ import annotations

import numpy as np

from saebench_lite.errors import SaebenchError
from saebench_lite.records.metric import Metric
from saebench_lite.records.record import rounded
from saebench_lite.records.types import MetricScore, UnitValues
from saebench_lite.stats.intervals import estimate
from saebench_lite.stats.paired import UnitScores
from saebench_lite.stats.single_unit import interval_over_texts, mean_error

SLACK = 1e-6
"How far a figure may lie outside its metric's bounds: rounding of float32."


def unit_values(
    units: list[str], seeds: list[int], values: np.ndarray, weights: np.ndarray, errors: np.ndarray | None = None
) -> UnitValues:
    """Values and weights [units, seeds] (NaN: missing) as a record holds them.

    Args:
        units: their names.
        seeds: the numbers of the seeds.
        values: one a unit and seed. [units, seeds]
        weights: of the values. [units, seeds]
        errors: standard errors under other test texts, NaN where not known. [units, seeds]
    """
    equal = bool((weights == 1).all())
    return UnitValues(
        units=units,
        seeds=seeds,
        values=[[rounded(v) for v in row] for row in values.tolist()],
        weights=None if equal else [[rounded(w) or 0.0 for w in row] for row in weights.tolist()],
        errors=None if errors is None else [[rounded(e) for e in row] for row in errors.tolist()],
    )


def arrays(stored: UnitValues) -> UnitScores:
    """Values and weights [units, seeds] of what a record holds."""
    shape = (len(stored.units), len(stored.seeds))
    values = np.array(stored.values, dtype=np.float64).reshape(shape)
    weights = np.ones(shape) if stored.weights is None else np.array(stored.weights, dtype=np.float64).reshape(shape)
    return UnitScores(values, weights)


def errors_of(stored: UnitValues) -> np.ndarray | None:
    """Standard errors [units, seeds] of what a record holds, NaN where not known; None where it holds none."""
    if stored.errors is None:
        return None
    return np.array(stored.errors, dtype=np.float64).reshape(len(stored.units), len(stored.seeds))


def metric_score(
    values: np.ndarray, weights: np.ndarray, metric: Metric, errors: np.ndarray | None = None
) -> MetricScore | None:
    """Weighted mean of values with its interval within the metric's bounds; None if no unit has a value.

    The interval is over units; where one unit alone has a value it is over that unit's test texts, if errors are given.
    SaebenchError if the mean lies outside the bounds.

    Args:
        values: one a unit and seed, NaN where missing. [units, seeds]
        weights: of the values. [units, seeds]
        metric: its bounds.
        errors: standard errors under other test texts, NaN where not known. [units, seeds]
    """
    got = estimate(values, weights)
    if got.value != got.value:
        return None
    low, high = metric.lower_bound, metric.upper_bound
    if got.n == 1 and errors is not None:
        error = mean_error(errors[np.isfinite(values)])
        if error is not None:
            ends = interval_over_texts(got.value, error, (low, high))
            got = got._replace(low=ends[0], high=ends[1])
    if (low is not None and got.value < low - SLACK) or (high is not None and got.value > high + SLACK):
        raise SaebenchError(f"metric {metric.name!r} came out as {got.value}, outside [{low}, {high}]")
    ends = [None if e is None else rounded(_within(e, low, high)) for e in (got.low, got.high)]
    return MetricScore(
        value=float(f"{got.value:.9g}"),
        low=ends[0],
        high=ends[1],
        n=got.n,
        per_seed=[rounded(v) for v in got.per_seed],
    )


def _within(value: float, low: float | None, high: float | None) -> float:
    """The end of an interval, cut at the metric's bounds."""
    value = value if low is None else max(low, value)
    return value if high is None else min(high, value)
