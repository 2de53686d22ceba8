"""A site's leaderboard as a small HTML table, for a cell of a notebook: no script, no style sheet, no link."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from saebench_lite.report.markup import one_line
from saebench_lite.report.table import Table
from saebench_lite.report.terminal_table import GROUPS, NOTES, essential, legend


def html_table(table: Table) -> str:
    """The columns that every terminal shows: L0, place in the ranking, the first metric of each dimension.

    SAEs first, best first; controls and baselines under headings of their own. Every text is escaped.
    """
    columns = list(essential(table))
    head = _row("th", ["", *("\n".join(c.head) for c in columns)])
    body = []
    for kind, title in GROUPS.items():
        names = [name for name, k in table.rows if k == kind]
        if names:
            body.append(f'<tr><th colspan="{1 + len(columns)}" style="text-align:left">{escape(title)}</th></tr>')
        body += [_row("td", [name, *(c.of[name] for c in columns)]) for name in names]
    said = [legend(table, columns), *table.sentences][:NOTES]
    notes = "".join(f"<br>{escape(one_line(note))}." for note in said)
    return (
        f"<table><caption>{escape(one_line(table.title))}</caption><thead>{head}</thead><tbody>{''.join(body)}</tbody>"
        f"</table><small>{notes.removeprefix('<br>')}</small>"
    )


def _row(tag: str, texts: Sequence[str]) -> str:
    """A row whose first cell is flush left; line breaks of a text stay."""
    cells = []
    for i, text in enumerate(texts):
        lines = "<br>".join(escape(one_line(line)) for line in text.split("\n"))
        cells.append(f'<{tag} style="text-align:{"right" if i else "left"}">{lines}</{tag}>')
    return f"<tr>{''.join(cells)}</tr>"
