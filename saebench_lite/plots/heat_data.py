"""One metric, subject by unit (data set, concept, letter): the table behind a heat map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from saebench_lite.plots.select import facts_of, goodness, scores_of, spelt
from saebench_lite.records.arrays import unit_scores
from saebench_lite.records.record import rounded
from saebench_lite.records.types import Kind
from saebench_lite.report.table import Column, Table
from saebench_lite.stats.intervals import collapse

KINDS: tuple[Kind, ...] = ("sae", "dictionary baseline", "control", "oracle", "baseline")
"In the order in which they stand."


@dataclass(frozen=True, kw_only=True)
class HeatRow:
    """One subject on one unit."""

    site: str
    subject: str
    kind: Kind
    group: str
    metric: str
    unit: str
    value: float | None
    "Mean over seeds; None where the unit cannot say."
    reference: str | None
    "The supervised baseline with the best score; None where there is none, or the metric has no direction."
    reference_value: float | None
    "Its value on the unit; None where it has none."
    difference: float | None
    "`value` minus it."


def heat_rows(table: Table, column: Column) -> list[HeatRow]:
    """A row for each unit and subject.

    Subjects stand by kind, the best first as in the table; units by their mean over SAEs (over all, without SAEs),
    the highest first, those without a mean last.
    """
    facts, records = facts_of(table), scores_of(table, column)
    values: dict[str, dict[str, float]] = {}
    for name, record in records.items():
        named = unit_scores(record, column.metric)
        if named is not None:
            means = collapse(*named.scores)[0]
            known = zip(named.units, means, strict=True)
            values[name] = {unit: rounded(float(v)) or 0.0 for unit, v in known if np.isfinite(v)}
    best = _best_baseline(table, column)
    against = values.get(best or "", {})
    order = sorted(values, key=lambda name: KINDS.index(facts[name].kind))
    rows = []
    for unit in _units([v for n, v in values.items() if facts[n].kind == "sae"] or list(values.values()), values):
        for name in order:
            value, other = values[name].get(unit), against.get(unit)
            rows.append(
                HeatRow(
                    site=table.title,
                    subject=name,
                    kind=facts[name].kind,
                    group=facts[name].group,
                    metric=spelt(column),
                    unit=unit,
                    value=value,
                    reference=best if against else None,
                    reference_value=other,
                    difference=None if value is None or other is None else rounded(value - other),
                )
            )
    return rows


def _best_baseline(table: Table, column: Column) -> str | None:
    """The supervised baseline with the best score, of equal ones the first by name."""
    scored = {
        name: goodness(r.scores[column.metric].value, column.better)
        for name, r in scores_of(table, column).items()
        if r.subject.kind == "baseline"
    }
    known = {name: good for name, good in scored.items() if good is not None}
    return min(known, key=lambda name: (-known[name], name), default=None)


def _units(of_saes: Sequence[dict[str, float]], of_all: dict[str, dict[str, float]]) -> list[str]:
    """Units by their mean over SAEs.

    Args:
        of_saes: {unit: value} of each SAE.
        of_all: the same of each subject by name.
    """
    units = dict.fromkeys(unit for values in of_all.values() for unit in values)

    def mean(unit: str) -> float:
        known = [values[unit] for values in of_saes if unit in values]
        return sum(known) / len(known) if known else -math.inf

    return sorted(units, key=lambda unit: -mean(unit))
