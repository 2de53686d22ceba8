"""Norms of codes and of activations, token by token: the table behind the ZF plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from saebench_lite.plots.select import facts_of
from saebench_lite.records.record import Record
from saebench_lite.records.types import Kind
from saebench_lite.report.table import Table

TASK = "afa"


@dataclass(frozen=True, kw_only=True)
class ZFRow:
    """One token under one subject."""

    site: str
    subject: str
    kind: Kind
    group: str
    d_sae: int | None
    l0: float | None
    norm_of_activation: float
    norm_of_code: float


def zf_rows(table: Table) -> dict[str, list[ZFRow]]:
    """The tokens that the records of afa keep, by subject in the order of the table; empty without such records."""
    facts, out = facts_of(table), {}
    held = {r.subject.name: r for r in table.cells.values() if r.task.name == TASK}
    for name, kind in table.rows:
        points = _points(held[name]) if name in held else []
        if points:
            of = facts[name]
            out[name] = [
                ZFRow(
                    site=table.title,
                    subject=name,
                    kind=kind,
                    group=of.group,
                    d_sae=of.d_sae,
                    l0=of.l0,
                    norm_of_activation=z,
                    norm_of_code=f,
                )
                for z, f in points
            ]
    return out


def _points(record: Record) -> Sequence[tuple[float, float]]:
    """(norm of activation, norm of code) of each token that a record keeps."""
    z, f = (record.diagnostics.get(key) for key in ("norms_of_activations", "norms_of_codes"))
    if not isinstance(z, list) or not isinstance(f, list) or len(z) != len(f):
        return []
    return [(float(a), float(b)) for a, b in zip(z, f, strict=True)]
