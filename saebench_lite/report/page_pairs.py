"""Pairs of SAEs for the HTML page: what `compare` says of them, and how many more units would decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from saebench_lite.errors import SaebenchError
from saebench_lite.records.record import Record
from saebench_lite.report.compare import Comparison, compare
from saebench_lite.report.group_sentences import more_units
from saebench_lite.report.numbers import figure, interval_text, p_text
from saebench_lite.report.ranking import field
from saebench_lite.report.table import Column, Table
from saebench_lite.stats.intervals import SHOWN_FROM
from saebench_lite.stats.ranks import pseudo_means

MOST = 2500
"Comparisons that a page holds, pairs times metrics."


def pairs_json(table: Table, columns: Sequence[Column]) -> dict[str, object]:
    """`subjects` (rows of the table, the best first), `rows`, one a pair of them and metric, `least` units of a test.

    All SAEs, or as many of the best as `MOST` comparisons allow. Rows are [a, b, column, a minus b, b minus a, p (Holm
    over the pair's metrics), decided (null without a test), won, tied, lost, units, more units, minimum reliable
    difference].

    Args:
        table: of the site.
        columns: of the page, in the order by which rows name them.
    """
    saes = [i for i, (_, kind) in enumerate(table.rows) if kind == "sae"]
    metrics = max(1, len(table.columns))
    while len(saes) * (len(saes) - 1) / 2 * metrics > MOST:
        saes.pop()
    at = {c: i for i, c in enumerate(columns)}
    pseudo = {c: _pseudo(table, c) for c in table.columns}
    own: dict[str, list[Record]] = {}
    for (name, _), record in table.cells.items():
        if record not in own.setdefault(name, []):
            own[name].append(record)
    rows = []
    for i, j in combinations(saes, 2):
        a, b = table.rows[i][0], table.rows[j][0]
        try:
            found, _ = compare(own[a], own[b], a, b)
        except SaebenchError:  # no task and setting that both were scored on
            continue
        for row in found:
            column = next((c for c in table.columns if _is(row, c)), None)
            if column is not None:
                rows.append([i, j, at[column], *_row(row, _difference(pseudo[column], a, b))])
    return {"subjects": saes, "rows": rows, "least": SHOWN_FROM}


def _is(row: Comparison, column: Column) -> bool:
    same = (row.task, row.version, row.metric) == (column.task, column.version, column.metric)
    return same and column.variant in ("", row.variant)


def _pseudo(table: Table, column: Column) -> dict[str, np.ndarray]:
    """Pseudo-values [units] of each subject on the units all have; empty without a direction or with too few units."""
    f = field([table.cells[s, column] for s, _ in table.rows if (s, column) in table.cells], column.metric)
    if f is None or f.x.shape[1] < SHOWN_FROM:
        return {}
    u = pseudo_means(f.x, f.w)
    return {r.subject.name: u[:, i] for i, r in enumerate(f.records)}


def _difference(pseudo: Mapping[str, np.ndarray], a: str, b: str) -> np.ndarray | None:
    return pseudo[a] - pseudo[b] if a in pseudo and b in pseudo else None


def _row(row: Comparison, d: np.ndarray | None) -> list[object]:
    """Texts and counts of one comparison; d are its pseudo-values [units], None where there are none."""
    p = row.paired
    texts = [_signed(p.difference, p.low, p.high)]
    texts.append(_signed(-p.difference, None if p.high is None else -p.high, None if p.low is None else -p.low))
    decided = None if row.p_holm is None else row.p_holm <= 0.05
    more = None if decided or d is None else more_units(d)
    mrd = None if row.mrd is None else figure(row.mrd)
    return [*texts, p_text(row.p_holm), decided, *row.counts, p.n, more, mrd]


def _signed(difference: float, low: float | None, high: float | None) -> str:
    return ("+" if difference >= 0 else "") + interval_text(difference, low, high)
