"""Records as flat rows, one a metric of a subject: the CSV and JSON of a leaderboard."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from saebench_lite.records.arrays import per_seed, protocol_key
from saebench_lite.records.random_model_controls import random_model_controls
from saebench_lite.records.record import Record, rounded
from saebench_lite.records.selection import (
    SiteAndData,
    data_names,
    newest_by_subject,
    site_and_data,
    variant,
    variants,
)
from saebench_lite.records.verdicts import Verdicts
from saebench_lite.report.markup import csv_cell
from saebench_lite.report.numbers import ends, interval_over
from saebench_lite.report.ranking import MetricRanking, SubjectRank, rank_metric
from saebench_lite.report.sections import l0_of
from saebench_lite.stats.reseed_noise import coefficient_of_variation, sample_sd

Cell = str | int | float | None

RANKED: dict[str, type[str | int | float]] = {
    "control": str,
    "above_control": int,
    "baseline": str,
    "below_baseline": int,
    "rank_low": int,
    "rank_high": int,
    "tied_with_best": int,
    "better_than": int,
    "likely_better_than": int,
    "reseed_sd": float,
    "cv": float,
    "mrd": float,
    "calibrated": float,
    "calibrated_low": float,
    "calibrated_high": float,
}
"Columns of marks, ranks, noise and scale, with their types; any may be empty."
SCORED = {
    **{"metric": str, "better": str, "construct": str, "verdict": str},
    **{"value": float, "low": float, "high": float, "interval_over": str, "n": int},
    **RANKED,
}
"Columns that only a score fills."
TYPES = {"version": int, "d_sae": int, "l0": float, **SCORED}
"Types of columns; those of all others are texts."


def long_rows(records: Sequence[Record], verdicts: Verdicts) -> list[dict[str, Cell]]:
    """One row a (subject, task, metric), or one a (subject, task) without scores.

    Ranks, calibrated scores and the minimum reliable difference are taken over the newest records of each subject
    under the same site, data, task version, settings and seeds.
    """
    controls = random_model_controls(records)
    origin = {control.digest: original.digest for control, original in controls}
    records = [*records, *(control for control, _ in controls)]
    groups: dict[str, list[Record]] = {}
    for r in records:
        groups.setdefault(protocol_key(r), []).append(r)
    newest = {key: newest_by_subject(group) for key, group in groups.items()}
    known: dict[tuple[str, str], MetricRanking] = {}
    data, settings, l0s = data_names(records), variants(records), _l0s(records)
    rows = []
    for r in sorted(records, key=lambda r: (r.site.model, r.site.hook, r.task.name, r.subject.name)):
        common = _common(r) | {"data": data[r.data.digest], "settings": settings.get((r.task.name, variant(r)), "")}
        common |= {"l0": l0s[site_and_data(r)].get(r.subject.name), "record": origin.get(r.digest, r.digest)}
        if not r.scores:
            rows.append(common | dict.fromkeys(SCORED))
        key = protocol_key(r)
        for metric, score in r.scores.items():
            if (key, metric) not in known:
                known[key, metric] = rank_metric(list(newest[key].values()), metric)
            declared = r.task.metrics[metric]
            about: dict[str, Cell] = {"metric": metric, "better": declared.better, "construct": declared.construct}
            about["verdict"] = verdicts.of(r.task.name, r.task.version, declared)
            low, high = ends(r, metric)
            about |= {"value": score.value, "low": low, "high": high}
            about |= {"interval_over": interval_over(r, metric), "n": score.n}
            rows.append(common | about | _ranked(r, metric, known[key, metric], newest[key][r.subject.name] is r))
    return rows


def to_csv(rows: Sequence[dict[str, Cell]]) -> str:
    """Rows as CSV with a header; empty where there is no value."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: csv_cell(v) if isinstance(v, str) else v for k, v in row.items()} for row in rows)
    return text.getvalue()


def _l0s(records: Sequence[Record]) -> dict[SiteAndData, dict[str, float | None]]:
    """L0 by subject at each site."""
    groups: dict[SiteAndData, list[Record]] = {}
    for r in records:
        groups.setdefault(site_and_data(r), []).append(r)
    return {key: {name: rounded(l0) for name, l0 in l0_of(group).items()} for key, group in groups.items()}


def _common(r: Record) -> dict[str, Cell]:
    return {
        "model": r.site.model,
        "hook": r.site.hook,
        "dtype": r.site.dtype,
        "token_rule": r.site.token_rule,
        "encode": r.site.encode,
        "data": r.data.name,
        "task": r.task.name,
        "version": r.task.version,
        "settings": "",
        "subject": r.subject.name,
        "kind": r.subject.kind,
        "d_sae": width if isinstance(width := r.subject.meta.get("d_sae"), int) else None,
        "l0": None,
        "status": r.status,
        "reason": r.reason,
    }


def _ranked(record: Record, metric: str, ranking: MetricRanking, newest: bool) -> dict[str, Cell]:
    """Marks, ranks, noise and calibrated score; all but the noise only for a subject's newest record.

    A mark is 1 or 0. Noise is left out where it shows nothing: one seed, or seeds that change no digit.
    """
    place = ranking.of.get(record.subject.name, SubjectRank()) if newest else SubjectRank()
    scores = per_seed(record, metric)
    marks = [None if m is None else int(m) for m in (place.above_control, place.below_baseline, place.tied_with_best)]
    scale = place.calibrated or (None, None, None)
    mrd = None if ranking.noise is None or not ranking.noise.drawn else ranking.noise.mrd
    noise = (sample_sd(scores) or None, coefficient_of_variation(scores) or None, mrd)
    numbers = [None if v is None else rounded(float(v)) for v in (*noise, *scale)]
    order = [*(place.rank or (None, None)), marks[2], place.better_than, place.likely_better_than]
    return dict(zip(RANKED, [place.control, marks[0], place.baseline, marks[1], *order, *numbers], strict=True))
