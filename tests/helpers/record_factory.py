"""Records made of given values, for tests that need no model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from saebench_lite.records.metric import Better, Metric
from saebench_lite.records.record import Record
from saebench_lite.records.summary import metric_score, unit_values
from saebench_lite.records.types import DataInfo, Kind, Provenance, SiteInfo, Status, SubjectInfo, TaskInfo

METRICS: dict[str, Better] = {"auroc": "higher", "delta": "lower", "ratio": "one", "l0": "neither"}


def metric(name: str, better: Better) -> Metric:
    return Metric(name=name, meaning=f"what {name} is", better=better)


def site(model: str = "m", hook: str = "h", weights: str = "w") -> SiteInfo:
    return SiteInfo(
        model=model, revision=None, weights=weights, hook=hook, dtype="float32", token_rule="no-special-tokens"
    )


def data_info(digest: str = "0", name: str | None = None) -> DataInfo:
    return DataInfo(name=name or f"d{digest}", digest=digest, datasets=1, concepts=0, corpora=0)


def provenance(date: str = "2025-01-01T00:00:00Z", code: str | None = "0" * 40) -> Provenance:
    return Provenance(
        code=code,
        packages={"torch": "2"},
        python="3.11.7",
        platform="Linux x86_64",
        gpu=None,
        threads=1,
        device="cpu",
        seconds=1.0,
        peak_gib=1.0,
        notes=[],
        date=date,
    )


def made_up(
    subject: str = "a",
    values: Mapping[str, np.ndarray] | None = None,
    *,
    task: str = "sparse_probing",
    version: int = 1,
    kind: Kind = "sae",
    seeds: tuple[int, ...] = (42, 43, 44),
    weights: np.ndarray | None = None,
    hook: str = "h",
    data: str = "0",
    settings: dict[str, object] | None = None,
    status: Status = "ok",
    metrics: Mapping[str, Better] = METRICS,
    headline: list[str] | None = None,
    beside: tuple[str, ...] = (),
    meta: dict[str, object] | None = None,
    errors: Mapping[str, np.ndarray] | None = None,
    diagnostics: dict[str, object] | None = None,
    fingerprint: str | None = None,
    date: str | None = None,
) -> Record:
    """A record of values {metric: [units, seeds]}; its headline is those metrics unless given."""
    values = values or {}
    declared = {m: metric(m, metrics[m]) for m in values}
    scores, per_unit = {}, {}
    for name, table in values.items():
        w = np.ones_like(table) if weights is None else weights
        e = None if errors is None else errors[name]
        scores[name] = metric_score(table, w, declared[name], e)
        per_unit[name] = unit_values([f"u{i}" for i in range(len(table))], list(seeds or [0]), table, w, e)
    return Record(
        task=TaskInfo(
            name=task,
            version=version,
            package="p",
            package_version="1",
            headline=list(values) if headline is None else headline,
            metrics=declared,
            beside=beside,
        ),
        subject=SubjectInfo(name=subject, kind=kind, fingerprint=fingerprint or subject, meta=meta or {}),
        site=site(hook=hook),
        data=data_info(data),
        settings=settings or {},
        seeds=list(seeds),
        status=status,
        reason=None if status == "ok" else "it broke",
        scores=scores,
        per_unit=per_unit,
        diagnostics=diagnostics or {},
        provenance=None if date is None else provenance(date),
    )
