"""One metric against L0 or against another metric: the table behind a scatter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from saebench_lite.plots.select import facts_of, goodness, same_as_an_sae, scores_of, spelt
from saebench_lite.records.record import Record
from saebench_lite.records.types import Kind
from saebench_lite.report.numbers import ends, interval_over
from saebench_lite.report.pareto import SAME_L0, dominated
from saebench_lite.report.sections import l0_of
from saebench_lite.report.table import Column, Table

Role = Literal["point", "line", "beyond the scale", "same as its SAE", "no x"]
"""How a subject is drawn: `line`, at a value of y for all x, is a baseline or control without an x. Not drawn:
`beyond the scale`, one that lies further from the SAEs than their own range; `same as its SAE`, a control that touches
nothing that the metric reads; `no x`, an SAE without an x."""

Ends = tuple[float | None, float | None, str | None]
"An interval and what it is over."


@dataclass(frozen=True, kw_only=True)
class ScatterRow:
    """One subject of one site, with 95 % intervals and what they are over."""

    site: str
    subject: str
    kind: Kind
    group: str
    d_sae: int | None
    x_metric: str
    "`l0`, or task and metric."
    x: float | None
    x_low: float | None
    x_high: float | None
    x_interval_over: str | None
    y_metric: str
    y: float
    y_low: float | None
    y_high: float | None
    y_interval_over: str | None
    role: Role = "point"
    on_front: int | None = None
    "1: no SAE with an x as good has a better y, by their values; None where either has no direction."
    dominated: int | None = None
    "1: an SAE with no more active latents is significantly better (`report.pareto`); None where x is not L0."


def scatter_rows(table: Table, y: Column, x: Column | None, far: bool = False) -> list[ScatterRow]:
    """A row for each subject that scores `y`, in the order of the table.

    Args:
        table: of a site.
        y: metric of the vertical axis.
        x: of the horizontal one; None: measured L0, or where no task measured it, that on the sample of the controls.
        far: draw references too that lie beyond the scale of the SAEs.
    """
    facts, of_y = facts_of(table), scores_of(table, y)
    at = _l0(table) if x is None else _values(table, x)
    twins = same_as_an_sae(list(of_y.values()), y.metric)
    rows = []
    for name, record in of_y.items():
        value, (x_low, x_high, x_over) = at.get(name, (None, (None, None, None)))
        low, high, over = _ends(record, y.metric)
        role: Role = "point" if value is not None else "no x" if facts[name].kind == "sae" else "line"
        rows.append(
            ScatterRow(
                site=table.title,
                subject=name,
                kind=facts[name].kind,
                group=facts[name].group,
                d_sae=facts[name].d_sae,
                x_metric="l0" if x is None else spelt(x),
                x=value,
                x_low=x_low,
                x_high=x_high,
                x_interval_over=x_over,
                y_metric=spelt(y),
                y=record.scores[y.metric].value,
                y_low=low,
                y_high=high,
                y_interval_over=over,
                role="same as its SAE" if name in twins else role,
            )
        )
    rows = rows if far else _without_far(rows, log_x=x is None)
    rows = _with_front(rows, x, y)
    if x is not None or y.better == "neither":
        return rows
    tested = dominated({y.metric: list(of_y.values())}, l0_of(table.cells.values()))
    return [replace(r, dominated=int(bool(tested[r.subject])) if r.subject in tested else None) for r in rows]


def _l0(table: Table) -> dict[str, tuple[float, Ends]]:
    """L0 of each subject, with its interval where a task measured it."""
    out: dict[str, tuple[float, Ends]] = {n: (v, (None, None, None)) for n, v in l0_of(table.cells.values()).items()}
    for record in table.cells.values():
        name = record.subject.name
        if "l0" in record.scores and record.scores["l0"].value == out[name][0]:
            out[name] = (out[name][0], _ends(record, "l0"))
    return out


def _values(table: Table, column: Column) -> dict[str, tuple[float, Ends]]:
    metric = column.metric
    return {n: (r.scores[metric].value, _ends(r, metric)) for n, r in scores_of(table, column).items()}


def _ends(record: Record, metric: str) -> Ends:
    return *ends(record, metric), interval_over(record, metric)


def _without_far(rows: Sequence[ScatterRow], log_x: bool) -> list[ScatterRow]:
    """Rows in which baselines and controls further from the SAEs than the SAEs' own range are beyond the scale.

    Args:
        rows: of one site.
        log_x: distances of x are ratios.
    """
    saes = [r for r in rows if r.kind == "sae" and r.role == "point"]
    x = _window([v for r in saes for v in (r.x, r.x_low, r.x_high)], log_x)
    y = _window([v for r in saes for v in (r.y, r.y_low, r.y_high)], False)
    out = []
    for r in rows:
        near = y[0] <= r.y <= y[1] and (r.x is None or x[0] <= r.x <= x[1])
        out.append(r if near or r.kind == "sae" or r.role == "same as its SAE" else replace(r, role="beyond the scale"))
    return out


def _window(values: Sequence[float | None], log: bool) -> tuple[float, float]:
    """The range of values with its own length added at both ends; without bounds where there are no values.

    Args:
        values: some may be None.
        log: lengths are ratios, if all values are positive.
    """
    known = [v for v in values if v is not None]
    if not known:
        return -math.inf, math.inf
    low, high = min(known), max(known)
    if log and low > 0:
        return low**2 / high, high**2 / low
    return 2 * low - high, 2 * high - low


def _with_front(rows: Sequence[ScatterRow], x: Column | None, y: Column) -> list[ScatterRow]:
    """Rows of SAEs with `on_front`.

    Args:
        rows: of one site.
        x: metric of x; None: L0, of which less is better and 1 % is no difference.
        y: metric of y.
    """
    slack = SAME_L0 if x is None else 0.0
    points: list[tuple[float, float, float, str]] = []
    for r in rows:
        if r.kind == "sae" and r.x is not None:
            gx = goodness(r.x, "lower" if x is None else x.better)
            gy = goodness(r.y, y.better)
            if gx is None or gy is None:
                return list(rows)
            points.append((gx, gy, slack * abs(r.x), r.subject))
    beaten = {
        name
        for gx, gy, near, name in points
        for hx, hy, _, _ in points
        if (hy > gy and hx >= gx - near) or (hy >= gy and hx > gx + near)
    }
    known = {name for *_, name in points}
    return [replace(r, on_front=int(r.subject not in beaten)) if r.subject in known else r for r in rows]
