"""Records as flat rows, one a metric of a subject: the CSV and JSON of a leaderboard."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from saebench_lite.records.arrays import per_seed, protocol_key
from saebench_lite.records.grades import grade_of
from saebench_lite.records.random_model_controls import add_random_model_controls
from saebench_lite.records.record import Record, rounded
from saebench_lite.report.ranking import MetricRanking, SubjectRank, rank_metric
from saebench_lite.stats.reseed_noise import coefficient_of_variation, sample_sd


def long_rows(records: Sequence[Record]) -> list[dict[str, Any]]:
    """One row a (subject, task, metric), or one a (subject, task) without scores; JSON types only.

    Ranks, calibrated scores and the minimum reliable difference are taken over the newest records of each subject
    under the same site, data, task version, settings and seeds.
    """
    records = add_random_model_controls(records)
    groups: dict[str, dict[str, Record]] = {}
    for r in sorted(records, key=lambda r: (r.made.get("date", ""), r.digest)):
        groups.setdefault(protocol_key(r), {})[r.subject["name"]] = r
    known: dict[tuple[str, str], MetricRanking] = {}
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
                known[key] = rank_metric(list(group.values()), metric)
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


def _extra(record: Record, metric: str, found: MetricRanking, newest: bool) -> dict[str, Any]:
    mine = found.of.get(record.subject["name"], SubjectRank()) if newest else SubjectRank()
    scores = per_seed(record, metric)
    rank = mine.rank or (None, None)
    scale = mine.calibrated or (None, None, None)
    noise = (sample_sd(scores), coefficient_of_variation(scores), None if found.noise is None else found.noise.mrd)
    numbers = [None if v is None else rounded(float(v)) for v in (*noise, *scale)]
    return dict(zip(_EXTRA, [*rank, *numbers], strict=True))
