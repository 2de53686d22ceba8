"""Numbers as text, the same in every table."""

from __future__ import annotations

import numpy as np

from saebench_lite.records.arrays import unit_errors, unit_scores
from saebench_lite.records.record import Record, rounded
from saebench_lite.records.types import Kind
from saebench_lite.stats.intervals import BOOTSTRAP_FROM, FEW, collapse, too_alike
from saebench_lite.stats.reseed_noise import sampling_sd
from saebench_lite.stats.single_unit import interval_over_texts

MARKS: dict[Kind, str] = {
    "sae": "",
    "dictionary baseline": " (d)",
    "control": " (c)",
    "baseline": " (b)",
    "oracle": " (o)",
}


LEGEND = (
    "(b) supervised baseline on the model's own activations, (d) dictionary baseline, (c) control that should lose,"
    " (o) the truth of a synthetic world"
)


MISSING = "–"


NO_INTERVAL = (
    f"No interval stands where more than 30 % of fewer than {FEW} units are equal; over fewer than {BOOTSTRAP_FROM}"
    " units it is over their own test texts, where the standard errors of all are known and above 0"
)


INDEPENDENT = (
    "The errors of two subjects are taken as independent, although both are judged on the same texts, which errs on the"
    " safe side"
)
"How subjects are compared on one unit."


def figure(value: float) -> str:
    """Three decimals below 100, fewer above: as many as a reader can use."""
    if abs(value) >= 100:
        return f"{value:.4g}"
    text = f"{value:.3f}"
    return "0.000" if text == "-0.000" else text


def p_text(p: float | None) -> str:
    """A p-value with as many digits as matter."""
    return MISSING if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def span_text(low: int, high: int) -> str:
    """`1–3`, or `2` where both ends agree."""
    return str(low) if low == high else f"{low}–{high}"


def small(value: float) -> str:
    """A spread: three decimals, or two significant digits where those would be zeros."""
    return figure(value) if value >= 0.001 or value == 0 else f"{value:.1g}"


def interval_text(value: float, low: float | None, high: float | None) -> str:
    """`value [low, high]`."""
    return figure(value) + ("" if low is None or high is None else f" [{figure(low)}, {figure(high)}]")


def over_own_texts(record: Record, metric: str) -> bool:
    """Whether the interval of a metric that a record scores is over the test texts of its units, not over others."""
    return record.scores[metric].n < BOOTSTRAP_FROM and ends(record, metric)[0] is not None


def ends(record: Record, metric: str) -> tuple[float | None, float | None]:
    """The interval over units of a metric that a record scores; (None, None) where they are too few and too alike.

    From 2 to 5 units cannot show how far another one may lie: Student's interval, which the record holds, covers less
    than it should where units are skewed (results/simulations/coverage.md). There the interval is over the test texts
    of these very units, taken as independent (`sampling_sd`), where their standard errors are known.
    """
    score, units = record.scores[metric], unit_scores(record, metric)
    if units is None:
        return score.low, score.high
    x, w = collapse(*units.scores)
    known = np.isfinite(x)
    if 1 < known.sum() < BOOTSTRAP_FROM:
        errors = unit_errors(record, metric)
        e = np.array([errors.get(unit, np.nan) for unit in units.units])[known]
        if not np.isfinite(e).all():
            return None, None
        declared = record.task.metrics[metric]
        bounds = declared.lower_bound, declared.upper_bound
        low, high = interval_over_texts(score.value, sampling_sd(e, w[known]), bounds)
        return rounded(low), rounded(high)
    return (None, None) if too_alike(x[known]) else (score.low, score.high)
