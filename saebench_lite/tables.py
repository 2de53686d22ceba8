"""Tables out of records alone: no torch, no model, no network. Pure functions of the records they are given."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from saebench_lite.card import ARROWS
from saebench_lite.errors import SaebenchError
from saebench_lite.record import Record, digest

Format = Literal["md", "csv", "json", "latex"]
FORMATS: tuple[Format, ...] = ("md", "csv", "json", "latex")
MARKS = {"sae": "", "stand-in": " (s)", "control": " (c)", "baseline": " (b)", "oracle": " (o)"}
LEGEND = "(b) supervised baseline on the model's own activations, (s) stand-in for an SAE, (c) control that should lose"
MISSING = "–"


class Column(NamedTuple):
    """One metric of one task under one version and setting."""

    task: str
    version: int
    variant: str
    "Tells settings and seeds of one task apart; empty where there is one variant only."
    metric: str
    better: str

    @property
    def title(self) -> str:
        """Header of the column."""
        suffix = f" [{self.variant}]" if self.variant else ""
        return f"{self.task}{suffix} {self.metric} {ARROWS[self.better]}".strip()  # type: ignore[index]


class Table(NamedTuple):
    """All subjects of one site and one data set."""

    title: str
    columns: list[Column]
    rows: list[tuple[str, str]]
    "(subject, kind), best first."
    cells: dict[tuple[str, Column], Record]
    left_out: list[str]
    "Sentences about records that are not shown."


def tables(records: Sequence[Record], metrics: Literal["headline", "all"] = "headline") -> list[Table]:
    """One table for each (model, hook, dtype, data); of each task only its newest version."""
    groups: dict[str, list[Record]] = {}
    for record in records:
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
    site, data = records[0].site, records[0].data
    title = f"{site['model']} · {site['hook']} · {site['dtype']} · data {data['name']}"
    notes = [f"{task} version {version} is older than {newest[task]} and not shown" for task, version in old]
    rows = sorted(kinds.items(), key=lambda item: _order(item[0], columns, cells))
    return Table(title, columns, rows, cells, notes)


def _variant(record: Record) -> str:
    return digest([record.settings, record.seeds])[:4]


def _score(record: Record | None, column: Column) -> dict[str, Any] | None:
    return None if record is None else record.scores.get(column.metric)


def _order(subject: str, columns: list[Column], cells: dict[tuple[str, Column], Record]) -> tuple:
    """Best first by the first column that has a direction; subjects without it come last, by name."""
    for column in columns:
        if column.better not in ("higher", "lower") or column.task != _ranking_task(columns):
            continue
        score = _score(cells.get((subject, column)), column)
        if score is not None:
            return (0, -score["value"] if column.better == "higher" else score["value"], subject)
        return (1, 0.0, subject)
    return (1, 0.0, subject)


def _ranking_task(columns: list[Column]) -> str:
    """Probing tasks rank where they stand: baselines have no other score."""
    tasks = [c.task for c in columns]
    return next((t for t in ("sparse_probing", "concept_detection") if t in tasks), tasks[0] if tasks else "")


def figure(value: float) -> str:
    """Three decimals below 100, fewer above: as many as a reader can use."""
    if abs(value) >= 100:
        return f"{value:.4g}"
    text = f"{value:.3f}"
    return "0.000" if text == "-0.000" else text


def cell_text(record: Record | None, column: Column, footnotes: list[str]) -> str:
    """`value [low, high]`, a dash where nothing is known, or a word with a footnote saying why there is no number."""
    if record is None:
        return MISSING
    if record.status != "ok":
        sentence = f"{record.task['name']}: {record.reason}"
        if sentence not in footnotes:
            footnotes.append(sentence)
        word = "n/a" if record.status == "not_applicable" else "failed"
        return f"{word} ({footnotes.index(sentence) + 1})"
    score = record.scores.get(column.metric)
    if score is None:
        return MISSING
    interval = "" if score["low"] is None else f" [{figure(score['low'])}, {figure(score['high'])}]"
    return figure(score["value"]) + interval


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

        return pd.DataFrame(rows).to_csv(index=False)
    if format not in ("md", "latex"):
        raise SaebenchError(f"format {format!r} is not known; choose from {', '.join(FORMATS)}")
    return "\n".join(_wide(table, format) for table in tables(records, metrics))


def _wide(table: Table, format: Format) -> str:
    from tabulate import tabulate

    footnotes: list[str] = []
    body = [
        [
            subject + MARKS.get(kind, ""),
            *(cell_text(table.cells.get((subject, c)), c, footnotes) for c in table.columns),
        ]
        for subject, kind in table.rows
    ]
    headers = ["subject", *(c.title for c in table.columns)]
    if format == "latex":
        lines = [f"% {table.title}", tabulate(body, headers, tablefmt="latex_booktabs", disable_numparse=True)]
        return "\n".join([*lines, *(f"% ({i}) {text}" for i, text in enumerate(footnotes, 1))]) + "\n"
    lines = [f"### {table.title}", "", tabulate(body, headers, tablefmt="github", disable_numparse=True), ""]
    lines += [f"Value [95 % interval]. {LEGEND}.", ""]
    lines += [f"({i}) {text}" + "  " for i, text in enumerate(footnotes, 1)]
    lines += [f"{text}.  " for text in table.left_out]
    return "\n".join(lines).rstrip() + "\n"


def long_rows(records: Sequence[Record]) -> list[dict[str, Any]]:
    """One row a (subject, task, metric), or one a (subject, task) without scores; JSON types only."""
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
            "record": r.digest,
        }
        empty = {"metric": None, "better": None, "value": None, "low": None, "high": None, "n": None}
        if not r.scores:
            rows.append(common | empty)
        for metric, score in r.scores.items():
            figures = {k: score[k] for k in ("value", "low", "high", "n")}
            rows.append(common | {"metric": metric, "better": r.task["metrics"][metric]["better"]} | figures)
    return rows
