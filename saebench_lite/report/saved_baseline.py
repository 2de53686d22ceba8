"""Copies of results that the regression check compares with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from saebench_lite.errors import SaebenchError
from saebench_lite.records.record import paths_of, read_all
from saebench_lite.records.selection import age, unmended


def save_baseline(folder: Path, to: Path) -> tuple[int, int]:
    """(records, bytes) of a copy of the records of SAEs in a results folder, without diagnostics.

    SaebenchError where a record is damaged, failed for good (`unmended`) or made by edited code, where there are no
    scores of SAEs, and where `to` holds records already.
    """
    records, damaged = read_all(folder)
    if damaged:
        raise SaebenchError(damaged[0])
    saes = sorted((r for r in unmended(records) if r.subject.kind == "sae"), key=age)
    if not any(r.status == "ok" for r in saes):
        raise SaebenchError(f"{folder} holds no scores of SAEs; give the folder that --out named")
    for r in saes:
        if r.status == "failed":
            raise SaebenchError(
                f"{r.subject.name}: {r.task.name} failed ({r.reason}); run it again before it becomes a baseline"
            )
        if r.provenance is not None and (r.provenance.code or "").endswith("+"):
            raise SaebenchError(
                f"{r.subject.name}: {r.task.name} was scored by edited code (commit {r.provenance.code}); commit the"
                " change and run it again before it becomes a baseline"
            )
    if paths_of(to):
        raise SaebenchError(f"{to} holds records already; delete them or give another --name")
    for r in saes:
        replace(r, diagnostics={}).save(to)
    return len(saes), sum(p.stat().st_size for p in paths_of(to))
