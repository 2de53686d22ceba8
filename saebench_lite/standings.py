"""What one metric's records say together: ranks as intervals, calibrated scores, reseed noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from saebench_lite.cells import per_seed, protocol_key, stack
from saebench_lite.compare import metric_noise
from saebench_lite.grading import grade_of
from saebench_lite.noise import Noise, coefficient_of_variation, sample_sd
from saebench_lite.ranks import calibrated, rank_intervals
from saebench_lite.record import Record, rounded
from saebench_lite.twins import with_twins


class Standing(NamedTuple):
    """Where a subject stands on one metric; None where the records cannot say."""

    rank: tuple[int, int] | None = None
    "(best, worst) rank the data allow."
    calibrated: tuple[float, float | None, float | None] | None = None
    "(value, low, high) of (raw - control) / (ceiling - control)."


class Standings(NamedTuple):
    """One metric under one protocol."""

    of: dict[str, Standing]
    noise: Noise | None
    control: str | None
    "Best control, the calibrated scale's 0."
    ceiling: str | None
    "Best supervised baseline or oracle, its 1."
    note: str | None
    "Why there is no calibrated scale although there are both a control and a baseline."


def standings(records: Sequence[Record], metric: str) -> Standings:
    """Standings of comparable records, one a subject; those without the metric are left out."""
    scored = [r for r in records if r.status == "ok" and metric in r.scores]
    noise = metric_noise(scored, metric)
    stacked = stack(scored, metric)
    if stacked is None:
        return Standings({}, noise, None, None, None)
    x, w = stacked
    best, worst = rank_intervals(x, w)
    mean = (w * x).sum(1) / w.sum(1)
    kinds = [r.subject["kind"] for r in scored]
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
    control, ceiling = (scored[i].subject["name"] for i in scale) if scale else (None, None)
    if scale and not mean[scale[1]] > mean[scale[0]]:
        note = f"no calibrated {metric}: the best baseline ({ceiling}) is not above the best control ({control})"
        scale = ()
    for i, record in enumerate(scored):
        rows = [i, *scale]
        score = calibrated(x[rows], w[rows]) if scale else None
        rank = (int(best[i]), int(worst[i])) if len(scored) > 1 and x.shape[1] > 1 else None
        of[record.subject["name"]] = Standing(rank, score)
    return Standings(of, noise, control, ceiling, note)


def long_rows(records: Sequence[Record]) -> list[dict[str, Any]]:
    """One row a (subject, task, metric), or one a (subject, task) without scores; JSON types only.

    Ranks, calibrated scores and the minimum reliable difference are taken over the newest records of each subject
    under the same site, data, task version, settings and seeds.
    """
    records = with_twins(records)
    groups: dict[str, dict[str, Record]] = {}
    for r in sorted(records, key=lambda r: (r.made.get("date", ""), r.digest)):
        groups.setdefault(protocol_key(r), {})[r.subject["name"]] = r
    known: dict[tuple[str, str], Standings] = {}
    rows = []
    for r in sorted(records, key=lambda r: (r.site["model"], r.site["hook"], r.task["name"], r.subject["name"])):
        common = {
            "model": r.site["model"],
            "hook": r.site["hook"],
            "data": r.data["name"],
            "task": r.task["name"],
            "version": r.task["version"],
            "subject": r.subject["name"],
            "kind": r.subject["kind"],
            "status": r.status,
            "reason": r.reason,
            "record": r.made.get("record", r.digest),
        }
        if not r.scores:
            rows.append(common | dict.fromkeys(("metric", "better", "grade", "value", "low", "high", "n", *_EXTRA)))
        group = groups[protocol_key(r)]
        for metric, score in r.scores.items():
            key = (protocol_key(r), metric)
            if key not in known:
                known[key] = standings(list(group.values()), metric)
            figures = {k: score[k] for k in ("value", "low", "high", "n")}
            newest = group[r.subject["name"]] is r
            extra = _extra(r, metric, known[key], newest)
            better = r.task["metrics"][metric]["better"]
            about = {"metric": metric, "better": better}
            about["grade"] = grade_of(r.task["name"], r.task["version"], metric, better)
            rows.append(common | about | figures | extra)
    return rows


_EXTRA = (
    "rank_low",
    "rank_high",
    "reseed_sd",
    "cv",
    "mrd",
    "calibrated",
    "calibrated_low",
    "calibrated_high",
)


def _extra(record: Record, metric: str, found: Standings, newest: bool) -> dict[str, Any]:
    mine = found.of.get(record.subject["name"], Standing()) if newest else Standing()
    scores = per_seed(record, metric)
    rank = mine.rank or (None, None)
    scale = mine.calibrated or (None, None, None)
    noise = (sample_sd(scores), coefficient_of_variation(scores), None if found.noise is None else found.noise.mrd)
    numbers = [None if v is None else rounded(float(v)) for v in (*noise, *scale)]
    return dict(zip(_EXTRA, [*rank, *numbers], strict=True))
