"""Records made of given values, for tests that need no model."""

from __future__ import annotations

import numpy as np

from saebench_lite.records.record import Record
from saebench_lite.stats.intervals import estimate

METRICS = {"auroc": {"better": "higher"}, "delta": {"better": "lower"}, "ratio": {"better": "one"}} | {
    "l0": {"better": "neither"}
}


def made_up(
    subject: str = "a",
    values: dict[str, np.ndarray] | None = None,
    *,
    task: str = "sparse_probing",
    version: int = 1,
    kind: str = "sae",
    seeds: tuple[int, ...] = (42, 43, 44),
    weights: np.ndarray | None = None,
    hook: str = "h",
    data: str = "0",
    settings: dict | None = None,
    status: str = "ok",
) -> Record:
    """A record of values {metric: [units, seeds]}; its metrics are those given."""
    values = values or {}
    scores, details = {}, {}
    for metric, table in values.items():
        got = estimate(table, weights)
        scores[metric] = {"value": got.value, "low": got.low, "high": got.high, "n": got.n, "per_seed": got.per_seed}
        shown = [[None if v != v else float(v) for v in row] for row in table]
        details[metric] = {"units": [f"u{i}" for i in range(len(table))], "seeds": list(seeds or [0]), "values": shown}
        if weights is not None:
            details[metric]["weights"] = weights.tolist()
    return Record(
        task={
            "name": task,
            "version": version,
            "package": "p",
            "headline": list(values),
            "metrics": {m: METRICS[m] for m in values},
        },
        subject={"name": subject, "kind": kind, "fingerprint": subject, "meta": {}},
        site={"model": "m", "hook": hook, "dtype": "float32"},
        data={"name": f"d{data}", "digest": data},
        settings=settings or {},
        seeds=list(seeds),
        status=status,  # type: ignore[arg-type]
        reason=None if status == "ok" else "it broke",
        scores=scores,
        details=details,
    )
