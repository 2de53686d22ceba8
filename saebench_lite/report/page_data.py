"""What the HTML page holds, as one JSON value: a leaderboard's tables with texts, ranks, notes and records."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from saebench_lite.files import digest
from saebench_lite.records.random_model_controls import random_model_controls
from saebench_lite.records.record import Record
from saebench_lite.records.training import CURVE, training_facts
from saebench_lite.records.types import Kind
from saebench_lite.records.verdicts import Verdicts
from saebench_lite.report.notes import notes
from saebench_lite.report.numbers import LEGEND, MARKS, OWN_TEXTS
from saebench_lite.report.page_columns import column_json, column_records, page_columns
from saebench_lite.report.page_pairs import pairs_json
from saebench_lite.report.sections import l0_of, sections, size_text, sizes
from saebench_lite.report.table import Table
from saebench_lite.report.text import RECIPES, dominators_text, recipe_rows
from saebench_lite.stats.intervals import SHOWN_FROM
from saebench_lite.version import __version__


class Pool:
    """Distinct JSON values by position: what many records share is written once."""

    def __init__(self) -> None:
        self.values: list[object] = []
        self._at: dict[str, int] = {}

    def add(self, value: object) -> int:
        """The position of a JSON value, which is appended if it is new."""
        key = json.dumps(value, sort_keys=True)
        if key not in self._at:
            self._at[key] = len(self.values)
            self.values.append(value)
        return self._at[key]


def page_data(tables: Sequence[Table], records: Sequence[Record], verdicts: Verdicts) -> dict[str, object]:
    """The page's JSON value.

    Args:
        tables: of a leaderboard, one a site.
        records: those that the tables were made of.
        verdicts: of the audit.
    """
    shared = Pool()
    origin = {control.digest: original.digest for control, original in random_model_controls(records)}
    shown: dict[str, int] = {}
    entries: list[object] = []
    for record in (r for table in tables for r in table.cells.values()):
        if record.digest not in shown:
            shown[record.digest] = len(entries)
            entries.append(_record(record, origin.get(record.digest, record.digest), shared))
    return {
        "version": __version__,
        "legend": f"Value [95 % interval], over {OWN_TEXTS} where units are fewer than {SHOWN_FROM}. {LEGEND}.",
        "marks": {kind: mark.strip() for kind, mark in MARKS.items()},
        "sites": [_site(table, verdicts, shown, shared) for table in tables if table.cells],
        "records": entries,
        "shared": shared.values,
    }


def _site(table: Table, verdicts: Verdicts, shown: Mapping[str, int], shared: Pool) -> dict[str, object]:
    """One table.

    Args:
        table: the table.
        verdicts: of the audit.
        shown: position of each record by its digest.
        shared: takes what columns have in common.
    """
    of_table = list(table.cells.values())
    l0 = l0_of(of_table)
    columns = page_columns(table)
    cells = []
    for column in columns:
        found = column_records(table, column)
        cell = column_json(table, column, found, verdicts, l0)
        if isinstance(units := cell.get("per_unit"), dict):
            units["names"] = shared.add(units["names"])
        cells.append(cell | {"record": shared.add([None if r is None else shown[r.digest] for r in found])})
    site = of_table[0].site
    wide, own = table._replace(columns=columns), set(table.columns)
    return {
        "id": digest([asdict(site), of_table[0].data.digest])[:8],
        "title": table.title,
        "model": site.model,
        "hook": site.hook,
        "site": asdict(site),
        "data": asdict(of_table[0].data),
        "sections": [
            {
                "construct": s.construct,
                "heading": s.heading,
                "columns": [columns.index(c) for c in s.columns if c in own],
                "others": [columns.index(c) for c in s.columns if c not in own],
            }
            for s in sections(wide)
        ],
        "ranking": None if table.ranking is None else columns.index(table.ranking),
        "columns": cells,
        "subjects": _subjects(table, of_table),
        "notes": [*table.remarks, *notes(table)],
        "recipes": [RECIPES, *recipe_rows(table)] if table.recipes else None,
        "pairs": pairs_json(table, columns),
    }


def _subjects(table: Table, records: Sequence[Record]) -> list[dict[str, object]]:
    """Each row's subject with its size and description; of several of its `records` the first describes it."""
    first: dict[str, Record] = {}
    for record in records:
        first.setdefault(record.subject.name, record)
    size = sizes(table)
    return [_subject(first[name], kind, size.get(name), table) for name, kind in table.rows]


def _subject(
    record: Record, kind: Kind, size: tuple[int | None, float | None] | None, table: Table
) -> dict[str, object]:
    """One subject.

    Args:
        record: one of its records.
        kind: in this table.
        size: (d_sae, L0); None where no subject has either.
        table: tells which SAEs dominate it.
    """
    subject, architecture = record.subject, training_facts(record.subject.meta).get("architecture")
    width, l0 = size or (None, None)
    width_text, l0_text = ("", "") if size is None else size_text(size)
    return {
        "name": subject.name,
        "kind": kind,
        "fingerprint": subject.fingerprint,
        "meta": {k: v for k, v in subject.meta.items() if k != CURVE},
        "architecture": architecture if isinstance(architecture, str) else None,
        "width": width,
        "width_text": width_text,
        "l0": l0,
        "l0_text": l0_text,
        "dominated": dominators_text(table.dominated.get(subject.name)),
    }


def _record(record: Record, name: str, shared: Pool) -> dict[str, object]:
    """One record without its scores.

    Args:
        record: the record.
        name: stem of its file.
        shared: takes what records have in common.
    """
    made = {} if record.provenance is None else asdict(record.provenance)
    own = {key: made.pop(key, None) for key in ("seconds", "peak_gib", "date")}
    histogram = record.diagnostics.get("density_histogram")
    return {
        "digest": name,
        "task": shared.add(
            {
                "name": record.task.name,
                "version": record.task.version,
                "package": f"{record.task.package} {record.task.package_version}",
            }
        ),
        "status": record.status,
        "reason": record.reason,
        "settings": shared.add(record.settings),
        "seeds": shared.add(record.seeds),
        "made": shared.add(made),
        **own,
        **({"density": histogram} if isinstance(histogram, dict) else {}),
    }
