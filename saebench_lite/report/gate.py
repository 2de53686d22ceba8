"""The regression check over results folders, and the copies of results that it compares with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from saebench_lite.errors import SaebenchError
from saebench_lite.records.record import paths_of, read_all
from saebench_lite.records.selection import age
from saebench_lite.report.compare import Metrics
from saebench_lite.report.regression import Check, check


def check_folders(
    new: Path,
    against: Sequence[Path],
    *,
    metrics: Metrics = "headline",
    min_effect: float | None = None,
    allow: float | None = None,
) -> Check:
    """`regression.check` of results folders; SaebenchError for one without records.

    Args:
        new: results folder under test.
        against: folders of earlier runs.
        metrics: the headline metrics, or all.
        min_effect: change that counts.
        allow: a loss up to this much passes.
    """
    folders = [read_all(folder) for folder in (new, *against)]
    for folder, (records, damaged) in zip((new, *against), folders, strict=True):
        if not records and not damaged:
            raise SaebenchError(f"{folder} holds no records; give the folder that --out named")
    return check(
        folders[0][0],
        *[records for records, _ in folders[1:]],
        metrics=metrics,
        min_effect=min_effect,
        allow=allow,
        damaged=[sentence for _, damaged in folders for sentence in damaged],
    )


def save_baseline(folder: Path, to: Path) -> tuple[int, int]:
    """(records, bytes) of a copy of the records of SAEs in a results folder, without diagnostics.

    SaebenchError where a record is damaged, failed or made by edited code, where there are no scores of SAEs, and where
    `to` holds records already.
    """
    records, damaged = read_all(folder)
    if damaged:
        raise SaebenchError(damaged[0])
    saes = sorted((r for r in records if r.subject.kind == "sae"), key=age)
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
