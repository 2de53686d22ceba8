"""Figures of batches while SAEs were trained: the table behind training curves."""

from __future__ import annotations

from dataclasses import dataclass

from saebench_lite.plots.select import facts_of
from saebench_lite.records.training import CURVE
from saebench_lite.records.types import Kind
from saebench_lite.report.table import Table

FIGURES = ("explained_variance", "l0", "dead_fraction")


@dataclass(frozen=True, kw_only=True)
class TrainingRow:
    """One subject at one step; figures are of that step's batch before it was trained on, None where unknown."""

    site: str
    subject: str
    kind: Kind
    group: str
    d_sae: int | None
    l0: float | None
    "Measured by a task on the trained SAE; it orders the lines."
    step: int
    explained_variance: float | None
    "Of the batch, about its own mean."
    batch_l0: float | None
    dead_fraction: float | None
    "Share of latents that had not fired lately."


def training_rows(table: Table) -> list[TrainingRow]:
    """A row for each subject with a curve and each of its steps, subjects in the order of the table."""
    facts = facts_of(table)
    curves = {r.subject.name: curve for r in table.cells.values() if (curve := _curve(r.subject.meta.get(CURVE)))}
    return [
        TrainingRow(
            site=table.title,
            subject=name,
            kind=kind,
            group=facts[name].group,
            d_sae=facts[name].d_sae,
            l0=facts[name].l0,
            step=step,
            explained_variance=explained,
            batch_l0=l0,
            dead_fraction=dead,
        )
        for name, kind in table.rows
        for step, explained, l0, dead in curves.get(name, [])
    ]


def without_curve(table: Table, rows: list[TrainingRow]) -> int:
    """SAEs of the table that are in none of its rows."""
    drawn = {r.subject for r in rows}
    return sum(kind == "sae" and name not in drawn for name, kind in table.rows)


def _curve(told: object) -> list[tuple[int, float | None, float | None, float | None]]:
    """(step, explained variance, L0, dead share) of metadata, which anyone may have written; empty where they are no
    columns of numbers of one length over rising steps.
    """
    if not isinstance(told, dict):
        return []
    steps, columns = told.get("step"), [told.get(name) for name in FIGURES]
    if not isinstance(steps, list) or not all(type(s) is int for s in steps) or sorted(set(steps)) != steps:
        return []
    known = [c for c in columns if isinstance(c, list) and len(c) == len(steps) and all(map(_number, c))]
    return list(zip(steps, *known, strict=True)) if len(known) == len(columns) else []


def _number(value: object) -> bool:
    return value is None or type(value) in (int, float)
