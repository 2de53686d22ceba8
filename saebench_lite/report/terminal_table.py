"""A site's leaderboard for a terminal: as many columns as fit its width, the most wanted first."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import NamedTuple

from saebench_lite.records.metric import ARROWS, Construct
from saebench_lite.records.record import Record
from saebench_lite.records.types import Kind
from saebench_lite.report.markup import one_line
from saebench_lite.report.notes import notes, table_variants
from saebench_lite.report.numbers import MISSING, OWN_TEXTS, ends, figure, interval_over, span_text
from saebench_lite.report.sections import Section, sections, size_text, sizes
from saebench_lite.report.table import Column, Table
from saebench_lite.stats.intervals import SHOWN_FROM

GAP = "  "
LEAST_NAME, MOST_NAME = 16, 44
"Characters of the column of names."
HEAD = 13
"Characters of a line of a metric's header, where its words allow."
ENDS = re.compile(r"\S+ -?[\d.]+–-?[\d.]+")
"A value with the ends of its interval."
FAR = 0.02
"Distance of an end from the value that shows in two decimals."
BELOW = "−"
"Marks an SAE that is worse than the best supervised baseline."
NOTES = 3
"Notes under a table; the others are in the Markdown."
GROUPS: dict[Kind, str] = {
    "oracle": "oracle",
    "sae": "SAEs",
    "dictionary baseline": "dictionary baselines",
    "control": "controls, which should lose",
    "baseline": "supervised baselines",
}


class Cells(NamedTuple):
    """A column of texts."""

    head: list[str]
    "Lines of its header."
    of: dict[str, str]
    "A text for each subject."
    extra: bool = False
    "Whether names go before it."

    @property
    def width(self) -> int:
        """Characters of its longest line."""
        return max(map(len, [*self.head, *self.of.values()]))


def narrow(table: Table, width: int, metrics: Sequence[str] | None = None, more: str = "--wide") -> str:
    """The table in lines of at most `width` characters (60 at least), SAEs first and the others set apart.

    Columns: name, L0, what the ranking says (rank among SAEs, `tied` with the best, `+` above the control, `−` below
    the best supervised baseline; of others `above all` or `below all` SAEs), the first
    metric of each dimension with the half-width of its 95 % interval, seconds, d_sae, then further metrics in
    turn, as long as they fit; or just the `metrics` named, all of them. Names too long for their column go on in the
    next line.

    Args:
        table: The site's.
        width: Characters of a line.
        metrics: Names of metrics, with or without `task.` in front, in place of the first of each dimension.
        more: What shows the rest.
    """
    width = max(width, 60)
    wanted = _wanted(table, metrics)
    room, taken = width - LEAST_NAME, []
    longest = min(MOST_NAME, max((len(one_line(name)) for name, kind in table.rows if kind == "sae"), default=0))
    for columns in wanted:
        need = columns.width + len(GAP)
        if need <= room - (max(0, longest - LEAST_NAME) if columns.extra else 0):
            taken.append(columns)
            room -= need
        elif columns.extra:
            break
    names = min(LEAST_NAME + room, MOST_NAME, max([LEAST_NAME, *(len(one_line(name)) for name, _ in table.rows)]))
    lines = [*wrap(one_line(table.title), width), "", *_header(taken, names)]
    for kind, title in GROUPS.items():
        rows = [name for name, k in table.rows if k == kind]
        if rows:
            lines.append(f"{title} {'-' * (min(width, _total(taken, names)) - len(title) - 1)}")
        lines += [line for name in rows for line in _row(name, taken, names)]
    told = table if metrics is None else table.only(metrics)
    return "\n".join([*lines, "", *_notes(told, taken, width, more, _codes(table, taken))]).rstrip() + "\n"


def _wanted(table: Table, metrics: Sequence[str] | None) -> Iterator[Cells]:
    """Columns, the most wanted first."""
    if metrics is not None:
        yield from _beside(table)
        yield from (_metric(table, c) for name in metrics for c in table.columns if name in c.names)
        return
    yield from essential(table)
    yield _seconds(table)
    if beside := sizes(table):
        yield Cells(["d_sae"], {name: size_text(size)[0] for name, size in beside.items()}, extra=True)
    yield from (_metric(table, c, s.construct)._replace(extra=True) for s, c in _in_turn(sections(table)))


def essential(table: Table) -> Iterator[Cells]:
    """L0, what the ranking says, and the first metric of each dimension with the half-width of its interval."""
    yield from _beside(table)
    yield from (_metric(table, s.columns[0], s.construct) for s in sections(table))


def _beside(table: Table) -> Iterator[Cells]:
    """L0 and what the ranking says, where they are known."""
    if beside := sizes(table):
        yield Cells(["L0"], {name: MISSING if l0 is None else f"{l0:.1f}" for name, (_, l0) in beside.items()})
    if places := _places(table):
        yield places


def _in_turn(parts: Sequence[Section]) -> Iterator[tuple[Section, Column]]:
    """The second column of each section, then the third of each, and so on."""
    for i in range(1, max((len(s.columns) for s in parts), default=0)):
        yield from ((s, s.columns[i]) for s in parts if i < len(s.columns))


def _metric(table: Table, column: Column, construct: Construct | None = None) -> Cells:
    """Scores with the half-width of their intervals, or the ends, under their dimension and the metric's name.

    Where two tasks have a metric of that name, or one has it under two settings, they are named too.
    """
    twins = [c for c in table.columns if c.metric == column.metric]
    words = column.title if len(twins) > 1 else f"{column.metric} {ARROWS[column.better]}".strip()
    of = {name: _score(table.cells.get((name, column)), column) for name, _ in table.rows}
    width = max(HEAD, *map(len, of.values()))
    return Cells([*([construct.replace("_", " ").upper()] if construct else []), *_broken(words, width)], of)


def _score(record: Record | None, column: Column) -> str:
    if record is None:
        return MISSING
    if record.status != "ok":
        return "n/a" if record.status == "not_applicable" else "failed"
    score = record.scores.get(column.metric)
    if score is None:
        return MISSING
    low, high = ends(record, column.metric)
    if low is None or high is None:
        return figure(score.value)
    if _uneven(score.value, low, high):
        return f"{figure(score.value)} {_short(low)}–{_short(high)}"
    return f"{figure(score.value)} ±{figure((high - low) / 2)}"


def _uneven(value: float, low: float, high: float) -> bool:
    """Whether half of an interval says little of where it lies: one end is far and over twice as far as the other."""
    near, far = sorted((value - low, high - value))
    return far > 2 * near and far > FAR


def _short(end: float) -> str:
    """An end of an interval in two decimals, without a leading zero."""
    return f"{end:.2f}".replace("0.", ".", 1) if abs(end) < 1 else f"{end:.2f}"


def _places(table: Table) -> Cells | None:
    """What the ranking column says of each subject; None where it says nothing."""
    of = {} if table.ranking is None else table.rankings[table.ranking].of
    texts = {}
    for name, _ in table.rows:
        place = of.get(name)
        rank = "" if place is None or place.rank is None else span_text(*place.rank)
        tied = " tied" if place is not None and place.tied_with_best and rank else ""
        marks = ("", "") if place is None else ("+" * bool(place.above_control), BELOW * bool(place.below_baseline))
        beside = "" if place is None or place.beside is None else place.beside.removesuffix(" SAEs")
        texts[name] = rank + tied + "".join(marks) + beside
    if not any(texts.values()):
        return None
    said = " ".join(texts.values())
    return Cells(["rank" if re.search(r"\d", said) else "marks" if set(said) - {"+", " "} else "control"], texts)


def _seconds(table: Table) -> Cells:
    """Seconds that a subject's scores took, over the tasks shown."""
    once = {(name, c.task, c.variant): r for (name, c), r in table.cells.items()}
    total = dict.fromkeys((name for name, _ in table.rows), 0.0)
    for (name, _, _), record in once.items():
        total[name] += 0.0 if record.provenance is None else record.provenance.seconds
    return Cells(["s"], {name: f"{s:.0f}" if s >= 10 else f"{s:.1f}" for name, s in total.items()})


def _header(columns: Sequence[Cells], names: int) -> list[str]:
    height = max((len(c.head) for c in columns), default=1)
    lines = []
    for i in range(height):
        row = [" " * names]
        for c in columns:
            top, rest = (c.head[:1], c.head[1:]) if len(c.head) > 1 else ([], c.head)
            padded = top + [""] * (height - len(c.head)) + rest
            row.append(padded[i].rjust(c.width))
        lines.append(GAP.join(row).rstrip())
    return lines


def _row(name: str, columns: Sequence[Cells], names: int) -> list[str]:
    first, *rest = _broken(one_line(name), names)
    line = GAP.join([first.ljust(names), *(c.of[name].rjust(c.width) for c in columns)]).rstrip()
    return [line, *(f"  {part}" for part in rest)]


def _total(columns: Sequence[Cells], names: int) -> int:
    return names + sum(c.width + len(GAP) for c in columns)


def _broken(text: str, width: int) -> list[str]:
    """Lines of at most `width` characters, broken after spaces and underscores; longer words are broken within."""
    lines = [""]
    for word in re.findall(r"[^ _]*[ _]?", text):
        if len((lines[-1] + word).rstrip()) > width and lines[-1]:
            lines[-1] = lines[-1].rstrip()
            lines.append("")
        lines[-1] += word
        while len(lines[-1].rstrip()) > width:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return [line.rstrip() for line in lines]


def legend(table: Table, columns: Sequence[Cells]) -> str:
    """How to read columns of a table, as `essential` gives them."""
    text = "value ± half of its 95 % interval"
    shown = [(r, c.metric) for (_, c), r in table.cells.items() if c in table.columns and c.metric in r.scores]
    if any(ENDS.fullmatch(cell) for c in columns for cell in c.of.values()):
        text += ", or its ends where one is over twice as far as the other"
    if any(interval_over(r, m) == OWN_TEXTS for r, m in shown):
        text += f", over their own test texts where units are fewer than {SHOWN_FROM}"
    if any(interval_over(r, m) is None for r, m in shown):
        text += ", none: too few units, too many equal, or an error not known"
    if table.ranking is not None and (places := _places(table)) is not None:
        texts = " ".join(places.of.values())
        text += f", {places.head[0]} by {table.ranking.task} {table.ranking.metric}"
        text += ": 95 % interval among the SAEs" if re.search(r"\d", texts) else ""
        text += ", tied: may be the best" if "tied" in texts else ""
        if "+" in texts:
            strange = table.other_controls(table.ranking)
            text += f", +: better than a random {'control' if strange else 'dictionary of its width and L0'}"
        text += f", {BELOW}: worse than the best supervised baseline" if BELOW in texts else ""
        text += ", above or below all: of the SAEs" if " all" in texts else ""
    return text


def _codes(table: Table, columns: Sequence[Cells]) -> list[str]:
    """What the codes of settings stand for that are in the heads of the columns shown."""
    heads = ["".join(c.head) for c in columns]
    return [told for (_, code), told in table_variants(table).items() if any(f"[{code}]" in head for head in heads)]


def _notes(table: Table, columns: Sequence[Cells], width: int, pointer: str, codes: Sequence[str]) -> list[str]:
    """How to read the table and the first sentences on its ranking metric, NOTES in all; how many more there are.

    Args:
        table: the table.
        columns: those that are shown.
        width: characters of a line.
        pointer: what shows the rest.
        codes: sentences on codes of settings, all of which are shown.
    """
    shown = [*[legend(table, columns), *table.sentences][:NOTES], *codes]
    more = len({*table.remarks, *notes(table), *table.sentences}) - len(shown) + 1
    rest = f"{more} more note{'s' if more != 1 else ''}, intervals and all columns: {pointer}"
    return [line for note in [*shown, rest] for line in wrap(f"{note}.", width, subsequent_indent="  ")]
