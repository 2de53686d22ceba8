"""What a figure shows of a folder: sites, metrics by name, and facts of subjects."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import NamedTuple

from saebench_lite.errors import SaebenchError
from saebench_lite.records.metric import Better
from saebench_lite.records.record import Record
from saebench_lite.records.training import training_facts
from saebench_lite.records.types import Kind
from saebench_lite.records.verdicts import shipped_verdicts
from saebench_lite.report.leaderboard import tables
from saebench_lite.report.page_columns import column_records, page_columns
from saebench_lite.report.ranking import field
from saebench_lite.report.sections import sizes
from saebench_lite.report.sites import one_title
from saebench_lite.report.table import Column, Table


class Facts(NamedTuple):
    """What stands beside a subject's score."""

    subject: str
    kind: Kind
    group: str
    "Architecture of an SAE, its name where no metadata tell; of others the name before ` of SAE`."
    d_sae: int | None
    l0: float | None


def site_tables(records: Sequence[Record], site: str | None) -> list[Table]:
    """A leaderboard's tables, one a site and data set, or that whose title `site` is or is the only one to be part of.

    SaebenchError where no title holds it, or several do.
    """
    if not records:
        raise SaebenchError("there are no records to plot; run something with --out first")
    known = tables(records, shipped_verdicts())
    if site is None:
        return known
    title = one_title([t.title for t in known], site)
    return [t for t in known if t.title == title]


def spelt(column: Column) -> str:
    """A metric as options name it: `task.metric`, or `task[variant].metric` where settings of the task differ."""
    variant = f"[{column.variant}]" if column.variant else ""
    return f"{column.task}{variant}.{column.metric}"


def find_column(table: Table, name: str) -> Column | None:
    """The column that `metric`, `task.metric` or `task[variant].metric` names; None where nothing scores it.

    SaebenchError where it names several.
    """
    scored = [c for c in page_columns(table) if any(r and r.scores for r in column_records(table, c))]
    fitting = [c for c in scored if name in (c.metric, f"{c.task}.{c.metric}", spelt(c))]
    if len(fitting) > 1:
        raise SaebenchError(f"metric {name!r} may be {' or '.join(map(spelt, fitting))}; name one of them")
    return fitting[0] if fitting else None


def with_column(per_site: Sequence[Table], name: str) -> list[tuple[Table, Column]]:
    """The tables that score a metric, each with its column; SaebenchError where none does, with near names."""
    found = [(table, find_column(table, name)) for table in per_site]
    known = [(table, column) for table, column in found if column is not None]
    if not known:
        names = list(dict.fromkeys(spelt(c) for table in per_site for c in page_columns(table)))
        close = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or names[:3]
        raise SaebenchError(f"no record scores metric {name!r}; did you mean {' or '.join(close)}?")
    return known


def scores_of(table: Table, column: Column) -> dict[str, Record]:
    """Records that score a metric, by subject, in the order of the table's rows."""
    found = zip(table.rows, column_records(table, column), strict=True)
    return {name: r for (name, _), r in found if r is not None and column.metric in r.scores}


def facts_of(table: Table) -> dict[str, Facts]:
    """Facts of each subject of a table, by name."""
    size = sizes(table)
    first: dict[str, Record] = {}
    for record in table.cells.values():
        first.setdefault(record.subject.name, record)
    out = {}
    for name, kind in table.rows:
        told = training_facts(first[name].subject.meta).get("architecture") if name in first else None
        group = (told if isinstance(told, str) else name) if kind == "sae" else name.split(" of ")[0]
        out[name] = Facts(name, kind, group, *size.get(name, (None, None)))
    return out


def goodness(value: float, better: Better) -> float | None:
    """The value turned so that higher is better; None for a metric without a direction."""
    turned = {"higher": value, "lower": -value, "one": -abs(value - 1)}
    return turned.get(better)


def same_as_an_sae(records: Sequence[Record], metric: str) -> set[str]:
    """Baselines and controls that score the very same as an SAE on each unit, as a control does that leaves the
    encoder alone where a metric reads nothing else.

    Args:
        records: comparable ones that score the metric, one a subject.
        metric: its name.
    """
    f = field(records, metric)
    if f is None:
        return set()
    return {f.records[i].subject.name for i in f.twin if f.records[i].subject.kind != "sae"}
