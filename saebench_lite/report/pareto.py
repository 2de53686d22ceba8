"""Which SAEs others dominate: no more active latents, and better on every metric asked. Pure functions of records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from saebench_lite.records.record import Record
from saebench_lite.report.ranking import MOST_SAES, field
from saebench_lite.stats.bootstrap_t import FAMILY_LEVEL
from saebench_lite.stats.intervals import SHOWN_FROM
from saebench_lite.stats.ranks import above_control

SAME_L0 = 0.01
"Relative difference below which two L0 count as equal."


def dominated(metrics: Mapping[str, Sequence[Record]], l0: Mapping[str, float]) -> dict[str, list[str]]:
    """SAEs that dominate each SAE: L0 no larger, significantly better on all metrics; none for those on the front.

    Differences are tested over units one-sided, step-down over all pairs of a metric, at `FAMILY_LEVEL`; empty where
    one has fewer than `SHOWN_FROM` units. Only SAEs with an L0 that every metric scores take part, and up to
    `MOST_SAES`; a single metric gives its front over L0.

    Args:
        metrics: comparable records by metric, one a subject each.
        l0: active latents per token by subject.
    """
    better: list[set[tuple[str, str]]] = []
    names: set[str] | None = None
    for metric, records in metrics.items():
        # not with the units that controls and baselines have: those that these lack would count for no SAE
        f = field([r for r in records if r.subject.kind == "sae" and r.subject.name in l0], metric)
        if f is None or f.x.shape[1] < SHOWN_FROM:
            return {}
        saes = list(range(len(f.records)))
        names = {f.records[i].subject.name for i in saes} & (names or {f.records[i].subject.name for i in saes})
        pairs = [(i, j) for i in saes for j in saes if i != j] if len(saes) <= MOST_SAES else []
        if not pairs:
            return {}
        p = above_control(f.x, f.w, np.array(pairs))
        of = [(f.records[i].subject.name, f.records[j].subject.name) for i, j in pairs]
        better.append({pair for pair, q in zip(of, p, strict=True) if q <= FAMILY_LEVEL})
    always = set.intersection(*better) if better else set()
    return {
        name: sorted(a for a, b in always if b == name and l0[a] <= l0[name] * (1 + SAME_L0)) for name in names or set()
    }
