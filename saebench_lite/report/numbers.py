"""Numbers as text, the same in every table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from saebench_lite.records.arrays import error_over_texts, unit_scores
from saebench_lite.records.record import Record, rounded
from saebench_lite.records.types import Kind
from saebench_lite.stats.intervals import FEW, SHOWN_FROM, collapse, too_alike
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
    f"No interval stands where more than 30 % of fewer than {FEW} units are equal; over fewer than {SHOWN_FROM}"
    " units it is over their own test texts, where the standard errors of all are known and above 0"
)


OWN_TEXTS = "own test texts"
"What an interval is over that is about the very units of a score, and no others."


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


def ends(record: Record, metric: str) -> tuple[float | None, float | None]:
    """The interval of a metric that a record scores; (None, None) where units are too few or too alike for one.

    Fewer than `SHOWN_FROM` cannot show how far another one may lie: the interval over them, which the record holds,
    covers less than it should where they are skewed (results/simulations/coverage.md). From two of them on it is over
    the test texts of these very units, taken as independent, where the standard errors of all are known.
    """
    return _interval(record, metric)[:2]


def interval_over(record: Record, metric: str) -> str | None:
    """What the interval of a metric that a record scores is over: `units`, or `OWN_TEXTS`; None where there is none."""
    return _interval(record, metric)[2]


def over_texts_told(records: Sequence[Record], metric: str, units: int) -> str:
    """` (intervals over their test texts)` where some are, and of how many units where others are not; else empty.

    Args:
        records: of a column; some may lack the metric.
        metric: its name.
        units: the most that any of them has.
    """
    if all(metric not in r.scores or interval_over(r, metric) != OWN_TEXTS for r in records):
        return ""
    few = f" of fewer than {SHOWN_FROM} units" if units >= SHOWN_FROM else ""
    return f" (intervals{few} over {'its' if units == 1 else 'their'} test texts)"


def _interval(record: Record, metric: str) -> tuple[float | None, float | None, str | None]:
    """(low, high, what it is over)."""
    score, named = record.scores[metric], unit_scores(record, metric)
    values = np.empty(0) if named is None else collapse(*named.scores)[0]
    known = np.isfinite(values)
    n = score.n if named is None else int(known.sum())
    low, high, over = score.low, score.high, "units" if n > 1 else OWN_TEXTS
    if 1 < n < SHOWN_FROM:
        units = [] if named is None else [unit for unit, there in zip(named.units, known, strict=True) if there]
        error, card = error_over_texts(record, metric, units), record.task.metrics[metric]
        low, high, over = None, None, OWN_TEXTS
        if error is not None:
            low, high = map(rounded, interval_over_texts(score.value, error, (card.lower_bound, card.upper_bound)))
    elif too_alike(values[known]):
        low = high = None
    return low, high, None if low is None else over
