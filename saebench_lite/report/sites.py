"""Several sites side by side: each subject's score on the metric that orders each site's table."""

from __future__ import annotations

from collections.abc import Sequence

from saebench_lite.errors import SaebenchError
from saebench_lite.records.record import Record
from saebench_lite.records.types import Kind
from saebench_lite.report.markup import markdown
from saebench_lite.report.numbers import MARKS, MISSING
from saebench_lite.report.table import Column, Table
from saebench_lite.report.text import cell_text


def over_sites(tables: Sequence[Table]) -> str:
    """Markdown: a table subject x site for each ranking metric, subjects by name; "" where no two sites share one.

    A cell is `value [95 % interval]` as in the site's own table. Scores of one subject at different sites are of
    different activations, so columns are not averaged. Data sets are told apart as sites are.
    """
    groups: dict[Column, list[Table]] = {}
    for table in tables:
        if table.ranking is not None:
            groups.setdefault(table.ranking._replace(variant=""), []).append(table)
    parts = [_summary(column, group) for column, group in groups.items() if len(group) > 1]
    return "\n".join(parts)


def _summary(column: Column, group: Sequence[Table]) -> str:
    from tabulate import tabulate

    footnotes: list[str] = []
    kinds: dict[str, Kind] = {subject: kind for table in group for subject, kind in table.rows}
    body = []
    for subject in sorted(kinds):
        cells = [cell_text(_record(table, subject), column, footnotes) for table in group]
        if any(cell != MISSING for cell in cells):
            body.append([markdown(subject + MARKS.get(kinds[subject], "")), *map(markdown, cells)])
    common, names = names_apart([t.title for t in group])
    lines = [f"### All sites: {markdown(column.title)}", "", *([f"On {markdown(common)}.", ""] if common else [])]
    lines += [tabulate(body, ["subject", *map(markdown, names)], tablefmt="github", disable_numparse=True), ""]
    lines += [f"({i}) {markdown(text)}  " for i, text in enumerate(footnotes, 1)]
    return "\n".join(lines).rstrip() + "\n"


def names_apart(titles: Sequence[str]) -> tuple[str, list[str]]:
    """What all titles of tables share, and what is left to tell them apart."""
    parts = [title.split(" · ") for title in titles]
    shared = {part for part in parts[0] if all(part in others for others in parts)}
    left = [" · ".join(part for part in each if part not in shared) for each in parts]
    return " · ".join(part for part in parts[0] if part in shared), left


def one_title(titles: Sequence[str], site: str) -> str:
    """The title that `site` is, or else the only one it is part of; SaebenchError where none holds it or several do."""
    fitting = [t for t in titles if t == site] or [t for t in titles if site in t]
    if len(fitting) == 1:
        return fitting[0]
    told = " | ".join(fitting or titles)
    if fitting:
        raise SaebenchError(f"site {site!r} fits {len(fitting)} sites; give more of one of these titles: {told}")
    raise SaebenchError(f"no site has {site!r} in its title; choose from {told}")


def _record(table: Table, subject: str) -> Record | None:
    return None if table.ranking is None else table.cells.get((subject, table.ranking))
