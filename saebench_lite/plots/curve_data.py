"""A probe's score over the number of latents that it reads: the table behind the curves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from saebench_lite.errors import SaebenchError
from saebench_lite.plots.select import facts_of, same_as_an_sae, scores_of, spelt
from saebench_lite.records.types import Kind
from saebench_lite.report.numbers import ends, interval_over
from saebench_lite.report.page_columns import page_columns
from saebench_lite.report.random_controls import RANDOM
from saebench_lite.report.table import Column, Table

TASK = "sparse_probing"
Role = Literal["curve", "line", "band", "same as its SAE"]
"""How a subject is drawn: `band`, a random dictionary among the controls; `line`, another reference; `same as its SAE`
(not drawn), a control that touches nothing of what the metric reads."""


@dataclass(frozen=True, kw_only=True)
class CurveRow:
    """One subject at one k, with its 95 % interval and what that is over."""

    site: str
    subject: str
    kind: Kind
    group: str
    d_sae: int | None
    l0: float | None
    metric: str
    k: int
    value: float
    low: float | None
    high: float | None
    interval_over: str | None
    role: Role


def curve_columns(table: Table, metric: str, pooling: str) -> list[tuple[int, Column]]:
    """(k, column) of a probe's metric under one pooling, by k; empty where the table has none.

    SaebenchError where the task ran under several settings.
    """
    found: dict[int, Column] = {}
    for column in page_columns(table):
        parts = re.fullmatch(rf"{re.escape(metric)}_k(\d+)_{re.escape(pooling)}", column.metric)
        if column.task == TASK and parts and scores_of(table, column):
            if int(parts[1]) in found:
                raise SaebenchError(
                    f"{table.title} holds {TASK} under several settings, so {column.metric} has several curves; keep"
                    " the records of one setting in a folder of their own"
                )
            found[int(parts[1])] = column
    return sorted(found.items())


def known_curves(per_site: Sequence[Table]) -> list[str]:
    """`metric, pooling` of all curves of the tables with two points or more."""
    counts: dict[tuple[str, str, str], int] = {}
    for table in per_site:
        for column in page_columns(table):
            if column.task == TASK and (parts := re.fullmatch(r"(.+)_k\d+_([a-z]+)", column.metric)):
                key = (table.title, parts[1], parts[2])
                counts[key] = counts.get(key, 0) + 1
    return sorted({f"{metric} {pooling}" for (_, metric, pooling), n in counts.items() if n > 1})


def curve_rows(table: Table, columns: Sequence[tuple[int, Column]]) -> list[CurveRow]:
    """A row for each subject and k, subjects in the order of the table."""
    facts = facts_of(table)
    scored = [(k, column, scores_of(table, column)) for k, column in columns]
    twins = set.intersection(*(same_as_an_sae(list(of.values()), column.metric) for _, column, of in scored))
    rows = []
    for name, kind in table.rows:
        role: Role = "curve" if kind in ("sae", "dictionary baseline") else "line"
        if kind == "control" and facts[name].group in RANDOM:
            role = "band"
        for k, column, of in scored:
            if name in of:
                low, high = ends(of[name], column.metric)
                rows.append(
                    CurveRow(
                        site=table.title,
                        subject=name,
                        kind=kind,
                        group=facts[name].group,
                        d_sae=facts[name].d_sae,
                        l0=facts[name].l0,
                        metric=spelt(column),
                        k=k,
                        value=of[name].scores[column.metric].value,
                        low=low,
                        high=high,
                        interval_over=interval_over(of[name], column.metric),
                        role="same as its SAE" if name in twins else role,
                    )
                )
    return rows
