"""One metric of the HTML page as a JSON value: card, scores with intervals, ranks, unit values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from saebench_lite.records.arrays import unit_scores
from saebench_lite.records.metric import ARROWS, Metric
from saebench_lite.records.record import Record, rounded
from saebench_lite.records.verdicts import UNAUDITED, Verdicts
from saebench_lite.report.notes import PLACES, place_text
from saebench_lite.report.numbers import ends, interval_text
from saebench_lite.report.pareto import dominated
from saebench_lite.report.ranking import MetricRanking, SubjectRank
from saebench_lite.report.table import Column, Table
from saebench_lite.report.text import cell_text
from saebench_lite.stats.intervals import collapse

DIGITS = 4
"Significant digits of a unit's value."

REASONS = {
    "passes": "passes: on worlds with planted faults of {construct} it orders them by their truth, and stays flat where"
    " that truth does not change",
    "misses": "misses: on most worlds with planted faults of {construct} it does not order them by their truth; not for"
    " ranking",
    "open": "open: on worlds with planted faults of {construct} the interval of what was measured straddles the bar",
    UNAUDITED: "unaudited: no audit has seen this version of it",
}
"What a verdict means, as a tooltip."
ON_CAUSES = {
    "passes": "passes: on worlds with planted causes it puts an oracle, trained, soft-frozen and untrained SAEs in"
    " this order",
    "misses": "misses: on most worlds with planted causes it puts an oracle, trained, soft-frozen and untrained SAEs in"
    " another order; not for ranking",
    "open": "open: on worlds with planted causes it is not certain that it puts an oracle, trained, soft-frozen and"
    " untrained SAEs in this order",
}
"The same of a metric that was asked on planted causes."


def page_columns(table: Table) -> list[Column]:
    """The table's columns, then the other metrics that their records score, task by task, in order of name."""
    metrics: dict[Column, dict[Column, None]] = {}
    for (_, column), record in table.cells.items():
        first = metrics.setdefault(column._replace(metric="", better="neither", construct=None), {})
        for name in sorted(record.scores):
            card = record.task.metrics[name]
            first[column._replace(metric=name, better=card.better, construct=card.construct)] = None
    others = [c for found in metrics.values() for c in found]
    return list(dict.fromkeys([*table.columns, *others]))


def column_records(table: Table, column: Column) -> list[Record | None]:
    """The record of each row of the table on the column's task and setting; None where there is none."""
    same = [c for c in table.columns if c[:3] == column[:3]]
    found = [next((table.cells[s, c] for c in same if (s, c) in table.cells), None) for s, _ in table.rows]
    return [None if r is None or (r.scores and column.metric not in r.scores) else r for r in found]


def column_json(
    table: Table, column: Column, records: Sequence[Record | None], verdicts: Verdicts, l0: dict[str, float]
) -> dict[str, object]:
    """Card and cells of a column; ranks, calibrated scores and the front over L0 for the table's own columns.

    Args:
        table: of the site.
        column: a metric.
        records: of each row of the table; None where there is none.
        verdicts: of the audit.
        l0: active latents per token by subject.
    """
    scored = [r for r in records if r is not None and column.metric in r.scores]
    card = scored[0].task.metrics[column.metric] if scored else None
    verdict = None if card is None else verdicts.of(column.task, column.version, card)
    causes = (column.task, column.version, column.metric) in verdicts.on_causes
    out = _card(column, card, verdict, ON_CAUSES if causes else REASONS)
    scores = [None if r is None else r.scores.get(column.metric) for r in records]
    bounds = [
        (None, None) if s is None or r is None else ends(r, column.metric) for s, r in zip(scores, records, strict=True)
    ]
    out |= {
        "value": [None if s is None else s.value for s in scores],
        "low": [low for low, _ in bounds],
        "high": [high for _, high in bounds],
        "units": [None if s is None else s.n for s in scores],
        "text": [cell_text(r, column, []) if r is None or r.status == "ok" else _word(r) for r in records],
    }
    if column in table.rankings:
        names = [name for name, _ in table.rows]
        out |= {"headline": True} | _ranked(table.rankings[column], names)
        if column.construct == "fidelity" and column.better in ("higher", "lower"):
            front = dominated({column.metric: scored}, l0)
            out["front"] = [front.get(name) == [] if front else None for name in names]
        out["per_unit"] = _per_unit(records, column.metric)
    return out


def _word(record: Record) -> str:
    return "n/a" if record.status == "not_applicable" else "failed"


def _card(column: Column, card: Metric | None, verdict: str | None, reasons: Mapping[str, str]) -> dict[str, object]:
    """What a column is.

    Args:
        column: the column.
        card: its metric's declaration; None where nothing was scored.
        verdict: of the audit; None for a metric without a direction.
        reasons: what verdicts mean.
    """
    construct = column.construct or "what it claims to measure"
    return {
        "task": column.task,
        "version": column.version,
        "variant": column.variant,
        "metric": column.metric,
        "title": column.title,
        "arrow": ARROWS[column.better],
        "better": column.better,
        "construct": column.construct,
        "meaning": "" if card is None else card.meaning,
        "summary": "" if card is None else card.summary(),
        "chance": None if card is None else card.chance,
        "verdict": verdict,
        "reason": "" if verdict is None else reasons[verdict].format(construct=construct.replace("_", " ")),
    }


def _ranked(ranking: MetricRanking, names: Sequence[str]) -> dict[str, object]:
    """Places and calibrated scores of subjects, each a list in their order; no list where all of it is unknown."""
    of = [ranking.of.get(name, SubjectRank()) for name in names]
    out: dict[str, object] = {"places": {head: [place_text(head, s) for s in of] for head in PLACES}}
    out["tied"] = [bool(s.tied_with_best) for s in of]
    out["tested_against"] = [s.control for s in of]
    if any(s.calibrated for s in of):
        scaled = [s.calibrated or (None, None, None) for s in of]
        out["calibrated"] = {
            "zero": ranking.control,
            "one": ranking.ceiling,
            "value": [_short(v) for v, _, _ in scaled],
            "low": [_short(low) for _, low, _ in scaled],
            "high": [_short(high) for _, _, high in scaled],
            "text": ["" if s.calibrated is None else interval_text(*s.calibrated) for s in of],
        }
    return out


def _short(value: float | None) -> float | None:
    return None if value is None else rounded(float(value))


def _per_unit(records: Sequence[Record | None], metric: str) -> dict[str, object] | None:
    """Each unit's mean over seeds for each record, as `values` [records][units]; None where no record holds them."""
    tables: list[dict[str, float | None]] = []
    for record in records:
        named = None if record is None else unit_scores(record, metric)
        means = np.empty(0) if named is None else collapse(*named.scores)[0]
        units = [] if named is None else named.units
        tables.append({unit: rounded(float(x), DIGITS) for unit, x in zip(units, means, strict=True)})
    names = list(dict.fromkeys(unit for t in tables for unit in t))
    if not names:
        return None
    return {"names": names, "values": [[t.get(unit) for unit in names] if t else None for t in tables]}
