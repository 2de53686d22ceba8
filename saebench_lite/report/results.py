"""What Python sees of records: leaderboards, comparisons and checks that a terminal and a notebook print by themselves.

Each takes records or the folder of a run, and loads neither a model nor an SAE.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from saebench_lite.errors import SaebenchError, kind_of
from saebench_lite.files import check_file, write_text
from saebench_lite.records.record import Record, nothing_at, read, read_all
from saebench_lite.records.selection import current
from saebench_lite.records.verdicts import Verdicts, shipped_verdicts
from saebench_lite.report import compare as comparing
from saebench_lite.report import regression
from saebench_lite.report.compare_text import to_text
from saebench_lite.report.doubts import doubts
from saebench_lite.report.findings import Check
from saebench_lite.report.html_table import html_table
from saebench_lite.report.leaderboard import Format, Metrics, leaderboard_text, tables
from saebench_lite.report.margins import Allow
from saebench_lite.report.markup import one_line, visible
from saebench_lite.report.regression_text import to_text as check_to_text
from saebench_lite.report.rows import long_rows
from saebench_lite.report.table import Table
from saebench_lite.report.terminal_table import narrow

if TYPE_CHECKING:
    from pandas import DataFrame

WIDTH = 100
"Characters of a line of a leaderboard that is printed."
PLOTS = "saebench_lite.plots.plot"
"The module that draws; it is asked for by name, as it stands above this one and needs matplotlib."
Source = Sequence[Record] | Record | str | Path
"Records, one of them, or the results folder that holds them."


@dataclass(frozen=True, repr=False)
class Leaderboard:
    """Records as a table: printed 100 characters wide, in a notebook as HTML."""

    records: tuple[Record, ...]
    metrics: Metrics = "headline"
    "Columns: `headline`, those that tasks show unasked, or `all` that were scored."
    verdicts: Verdicts | None = None
    "Of the audit on the metrics; None: those shipped with this version."

    def __post_init__(self) -> None:
        _check_metrics(self.metrics)

    @cached_property
    def tables(self) -> list[Table]:
        """One table for each (model, hook, dtype, data)."""
        return tables(self.records, self.verdicts or shipped_verdicts(), self.metrics)

    def __repr__(self) -> str:
        """The table as a terminal of 100 columns shows it."""
        more = ".to_markdown(), .to_html(path)"
        shown = [narrow(table, WIDTH, more=more) for table in self.tables]
        return "\n".join([*shown, *(f"Check {visible(sentence)}" for sentence in doubts(self.records))]).rstrip("\n")

    def _repr_html_(self) -> str:
        """The tables of a notebook's cell."""
        shown = [html_table(table) for table in self.tables]
        return "\n".join([*shown, *(f"<p>Check {escape(one_line(s))}</p>" for s in doubts(self.records))])

    def to_frame(self) -> DataFrame:
        """One row a (subject, task, metric), as in the CSV; (subject, task) where nothing was scored."""
        from pandas import DataFrame

        return DataFrame(long_rows(self.records, self.verdicts or shipped_verdicts()))

    def to_markdown(self) -> str:
        """All columns with their intervals, notes, and a summary over sites where there are several."""
        return self._text("md")

    def to_latex(self) -> str:
        """All columns as tables of LaTeX (package booktabs)."""
        return self._text("latex")

    def to_html(self, path: str | Path) -> Path:
        """Writes the page (docs/page.md), one file that works offline; returns its path. SaebenchError if it cannot."""
        check_file("path", Path(path))
        write_text(Path(path), self._text("html"))
        return Path(path)

    def plot(self, kind: str, **options: Any) -> Any:  # Any: each kind of figure has options of its own
        """A figure of the records: `saebench_lite.plot(records, kind, **options)`."""
        return importlib.import_module(PLOTS).plot(self.records, kind, **options)

    def _text(self, format: Format) -> str:
        return leaderboard_text(self.records, format, self.metrics, self.verdicts)


def leaderboard(records: Source, metrics: Metrics = "headline", verdicts: Verdicts | None = None) -> Leaderboard:
    """The leaderboard of records or of a results folder; SaebenchError where there are none, or for other metrics.

    Args:
        records: of any number of sites, subjects and tasks, or the folder that holds them.
        metrics: headline: those that tasks show unasked; all: all scored.
        verdicts: of the audit on the metrics; by default those shipped with this version.
    """
    held = records_of(records)
    if not held:
        raise SaebenchError("there are no records to show; run something first")
    return Leaderboard(tuple(held), metrics, verdicts)


@dataclass(frozen=True, repr=False)
class Compared:
    """Two subjects side by side, printed as `saebench-lite compare` prints them."""

    a: str
    b: str
    rows: list[comparing.Comparison]
    "One a metric that both have: paired differences a minus b, intervals, p-values, units won."
    missing: list[str]
    "Why others could not be compared, a sentence each."

    def __repr__(self) -> str:
        """A Markdown table with its legend."""
        return to_text(self.rows, self.missing, self.a, self.b).rstrip("\n")

    def _repr_markdown_(self) -> str:
        return repr(self)

    def to_frame(self) -> DataFrame:
        """One row a metric, as `saebench-lite compare --json` writes them."""
        from pandas import DataFrame

        return DataFrame(comparing.to_rows(self.rows))


def compare(a: str, b: str, records: Source, theirs: Source | None = None, metrics: Metrics = "headline") -> Compared:
    """Paired differences of subjects `a` and `b` over the units that both were scored on.

    SaebenchError for a name that has no records, for other metrics, or if nothing can be compared.

    Args:
        a: name of a subject of `records`.
        b: name of a subject of `theirs`.
        records: records, or the results folder that holds them.
        theirs: those that hold `b`; by default the same.
        metrics: headline: those that tasks show unasked; all: all scored.
    """
    _check_metrics(metrics)
    ours = records_of(records)
    rows, missing = comparing.compare(ours, ours if theirs is None else records_of(theirs), a, b, metrics)
    return Compared(a, b, rows, missing)


class Checked(Check):
    """The outcome of `check`, printed as `saebench-lite check` prints it."""

    def __repr__(self) -> str:
        """The verdict, what changed and what could not be compared, as a terminal shows them."""
        return check_to_text(self).rstrip("\n")


def check(
    new: Source,
    *against: Source,
    metrics: Metrics = "headline",
    allow: Allow = None,
    min_effect: float | None = None,
) -> Checked:
    """Did an SAE get worse beyond noise? Judges each SAE of earlier runs by its counterpart in `new`.

    `.regressions` and `.undecided` are its findings, `.status()` the exit status of `saebench-lite check`. What may be
    compared and what counts: `saebench_lite.report.regression`. A file that cannot be read is a problem of the outcome.
    SaebenchError without records, for other metrics, or if no earlier run holds scores of SAEs.

    Args:
        new: records or results folder under test.
        against: those of earlier runs; several of retrained SAEs show that noise.
        metrics: headline: those that tasks show unasked; all: all scored.
        allow: a loss up to this much passes, in a metric's unit: a number for all, or {metric or task.metric: number},
            with "*" for the other metrics.
        min_effect: the change that counts, in place of each metric's minimum reliable difference.
    """
    _check_metrics(metrics)
    read_in = [_with_damage(source) for source in (new, *against)]
    found = regression.check(
        read_in[0][0],
        *[records for records, _ in read_in[1:]],
        metrics=metrics,
        min_effect=min_effect,
        allow=allow,
        damaged=[sentence for _, damaged in read_in for sentence in damaged],
    )
    return Checked(**{f.name: getattr(found, f.name) for f in fields(found)})


def records_of(source: Source) -> list[Record]:
    """Records as they are given, or read from their folder (`read`), of the newest subject of each name (`current`).

    SaebenchError for anything else.
    """
    return current(read(source) if isinstance(source, str | Path) else _given(source, "one results folder"))


def _given(source: Sequence[Record] | Record, folder: str) -> list[Record]:
    """Records in a list; SaebenchError for anything else, which tells how a `folder` is given."""
    if isinstance(source, Record):
        return [source]
    if not isinstance(source, Iterable):
        raise SaebenchError(f"records are {kind_of(source)}; give records, or {folder}")
    held = list(source)
    if bad := [item for item in held if not isinstance(item, Record)]:
        what = repr(str(bad[0])) if isinstance(bad[0], str | Path) else f"{kind_of(bad[0])}"
        raise SaebenchError(f"a list of records holds {what}; give records, or {folder}")
    return held


def _check_metrics(metrics: Metrics) -> None:
    known = get_args(Metrics)
    if not isinstance(metrics, str) or metrics not in known:
        raise SaebenchError(f"metrics {metrics!r} is not known; choose {' or '.join(known)}")


def _with_damage(source: Source) -> tuple[list[Record], list[str]]:
    """Records, and a sentence on each file of a folder that is none; SaebenchError for a folder with neither."""
    if not isinstance(source, str | Path):
        return _given(source, "one results folder an argument: check(new, *folders)"), []
    records, damaged = read_all(Path(source))
    if not records and not damaged:
        raise nothing_at(source)
    return records, damaged
