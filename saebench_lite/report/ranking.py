"""What one metric's records say together: ranks as intervals, calibrated scores, reseed noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from saebench_lite.records.arrays import metric_noise, stack
from saebench_lite.records.record import Record
from saebench_lite.stats.ranks import calibrated, rank_intervals
from saebench_lite.stats.reseed_noise import Noise


class SubjectRank(NamedTuple):
    """Where a subject stands on one metric; None where the records cannot say."""

    rank: tuple[int, int] | None = None
    "(best, worst) rank the data allow."
    calibrated: tuple[float, float | None, float | None] | None = None
    "(value, low, high) of (raw - control) / (ceiling - control)."


class MetricRanking(NamedTuple):
    """One metric under one protocol."""

    of: dict[str, SubjectRank]
    noise: Noise | None
    control: str | None
    "Best control, the calibrated scale's 0."
    ceiling: str | None
    "Best supervised baseline or oracle, its 1."
    note: str | None
    "Why there is no calibrated scale although there are both a control and a baseline."


def rank_metric(records: Sequence[Record], metric: str) -> MetricRanking:
    """Ranks, calibrated scores and noise of comparable records, one a subject; without the metric: left out."""
    scored = [r for r in records if r.status == "ok" and metric in r.scores]
    noise = metric_noise(scored, metric)
    stacked = stack(scored, metric)
    if stacked is None:
        return MetricRanking({}, noise, None, None, None)
    x, w = stacked
    best, worst = rank_intervals(x, w)
    mean = (w * x).sum(1) / w.sum(1)
    kinds = [r.subject.kind for r in scored]
    controls, ceilings = (
        [i for i, k in enumerate(kinds) if k in these] for these in (("control",), ("baseline", "oracle"))
    )
    saes = [i for i, k in enumerate(kinds) if k == "sae"]
    # a control made of an SAE that scores the very same did not touch what this metric reads
    controls = [i for i in controls if not any((x[i] == x[j]).all() for j in saes)]
    scale = (
        (max(controls, key=lambda i: mean[i]), max(ceilings, key=lambda i: mean[i])) if controls and ceilings else ()
    )
    note, of = None, {}
    control, ceiling = (scored[i].subject.name for i in scale) if scale else (None, None)
    if scale and not mean[scale[1]] > mean[scale[0]]:
        note = f"no calibrated {metric}: the best baseline ({ceiling}) is not above the best control ({control})"
        scale = ()
    for i, record in enumerate(scored):
        rows = [i, *scale]
        score = calibrated(x[rows], w[rows]) if scale else None
        rank = (int(best[i]), int(worst[i])) if len(scored) > 1 and x.shape[1] > 1 else None
        of[record.subject.name] = SubjectRank(rank, score)
    return MetricRanking(of, noise, control, ceiling, note)
