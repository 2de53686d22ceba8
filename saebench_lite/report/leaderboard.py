"""Tables out of records alone: no torch, no model, no network. Pure functions of the records they are given."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from saebench_lite.errors import SaebenchError
from saebench_lite.files import digest
from saebench_lite.names import RANDOM
from saebench_lite.records.grades import fails
from saebench_lite.records.random_model_controls import SUFFIX, add_random_model_controls
from saebench_lite.records.record import Record
from saebench_lite.report.ranking import rank_metric
from saebench_lite.report.rows import long_rows
from saebench_lite.report.table import Column, Table
from saebench_lite.report.text import wide

Format = Literal["md", "csv", "json", "latex"]


FORMATS: tuple[Format, ...] = ("md", "csv", "json", "latex")


def tables(records: Sequence[Record], metrics: Literal["headline", "all"] = "headline") -> list[Table]:
    """One table for each (model, hook, dtype, data); of each task only its newest version."""
    groups: dict[str, list[Record]] = {}
    for record in add_random_model_controls(records):
        groups.setdefault(digest([record.site, record.data["digest"]]), []).append(record)
    return sorted((_table(group, metrics) for group in groups.values()), key=lambda t: t.title)


def _table(records: list[Record], metrics: str) -> Table:
    newest: dict[str, int] = {}
    for r in records:
        newest[r.task["name"]] = max(r.task["version"], newest.get(r.task["name"], 0))
    old = sorted({(r.task["name"], r.task["version"]) for r in records if r.task["version"] < newest[r.task["name"]]})
    shown = [r for r in records if r.task["version"] == newest[r.task["name"]]]
    variants: dict[str, list[str]] = {}
    for r in shown:
        seen = variants.setdefault(r.task["name"], [])
        if _variant(r) not in seen:
            seen.append(_variant(r))
    columns: list[Column] = []
    cells: dict[tuple[str, Column], Record] = {}
    kinds: dict[str, str] = {}
    for r in sorted(shown, key=lambda r: (r.task["name"], _variant(r))):
        name = r.task["name"]
        label = "" if len(variants[name]) == 1 else _variant(r)
        wanted = r.task["headline"] if metrics == "headline" else list(r.task["metrics"])
        kinds[r.subject["name"]] = r.subject["kind"]
        for metric in wanted:
            column = Column(name, r.task["version"], label, metric, r.task["metrics"][metric]["better"])
            if column not in columns:
                columns.append(column)
            key = (r.subject["name"], column)
            if key in cells and cells[key].made.get("date", "") > r.made.get("date", ""):
                continue
            cells[key] = r
    scored = {r.task["name"] for r in shown if r.scores}
    columns = [c for c in columns if c.task not in scored or any(_score(cells.get((s, c)), c) for s in kinds)]
    failed = [c for c in columns if fails(c.task, c.version, c.metric)]
    columns = [c for c in columns if c not in failed]
    site, data = records[0].site, records[0].data
    title = f"{site['model']} · {site['hook']} · {site['dtype']} · data {data['name']}"
    notes = [f"{task} version {version} is older than {newest[task]} and not shown" for task, version in old]
    if any(name.endswith(SUFFIX) for name in kinds):
        notes.append(f"`{SUFFIX.strip()}`: an SAE of {RANDOM}{site['model']}, scored on that model's own activations")
    ranking = _ranking_column(columns)
    rows = sorted(kinds.items(), key=lambda item: _order(item[0], ranking, cells))
    found = {c: rank_metric([cells[s, c] for s, _ in rows if (s, c) in cells], c.metric) for c in columns}
    return Table(title, columns, failed, rows, cells, notes, ranking, found)


def _variant(record: Record) -> str:
    return digest([record.settings, record.seeds])[:4]


def _score(record: Record | None, column: Column) -> dict[str, Any] | None:
    return None if record is None else record.scores.get(column.metric)


def _order(subject: str, ranking: Column | None, cells: dict[tuple[str, Column], Record]) -> tuple:
    """Best first by the ranking column; subjects without it come last, by name."""
    score = None if ranking is None else _score(cells.get((subject, ranking)), ranking)
    if ranking is None or score is None:
        return (1, 0.0, subject)
    return (0, -score["value"] if ranking.better == "higher" else score["value"], subject)


def _ranking_column(columns: list[Column]) -> Column | None:
    """The first column with a direction, of a probing task where there is one: baselines have no other score."""
    tasks = [c.task for c in columns]
    task = next((t for t in ("sparse_probing", "concept_detection") if t in tasks), tasks[0] if tasks else "")
    return next((c for c in columns if c.task == task and c.better in ("higher", "lower")), None)


def leaderboard(
    records: Sequence[Record], format: Format = "md", metrics: Literal["headline", "all"] = "headline"
) -> str:
    """The records as text: wide tables (md, latex) or one row a (subject, metric) (csv, json).

    SaebenchError if there are no records or the format is unknown.
    """
    if not records:
        raise SaebenchError("there are no records to show; run something with --out here first")
    if format in ("csv", "json"):
        rows = long_rows(records)
        if format == "json":
            return json.dumps(rows, indent=1, allow_nan=False) + "\n"
        import pandas as pd

        whole = {"n": "Int64", "rank_low": "Int64", "rank_high": "Int64"}
        return pd.DataFrame(rows).astype(whole).to_csv(index=False)
    if format not in ("md", "latex"):
        raise SaebenchError(f"format {format!r} is not known; choose from {', '.join(FORMATS)}")
    return "\n".join(wide(table, format) for table in tables(records, metrics))
