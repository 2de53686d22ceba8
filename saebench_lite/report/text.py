"""Tables as text: Markdown and LaTeX."""

from __future__ import annotations

import re
from textwrap import wrap
from typing import Literal

from saebench_lite.records.record import Record
from saebench_lite.report.markup import markdown, one_line
from saebench_lite.report.notes import PLACES, notes, place_text, scaled_columns
from saebench_lite.report.numbers import (
    LEGEND,
    MARKS,
    MISSING,
    ends,
    figure,
    interval_text,
    small,
    span_text,
)
from saebench_lite.report.ranking import SubjectRank
from saebench_lite.report.sections import Section, sections, size_text, sizes
from saebench_lite.report.table import Column, Table

IN_LATEX = {"↑": r"\ensuremath{\uparrow}", "↓": r"\ensuremath{\downarrow}", "→": r"\ensuremath{\to}", "–": "--"}
"Characters that LaTeX does not know by themselves."

Wide = Literal["md", "latex"]


def cell_text(record: Record | None, column: Column, footnotes: list[str]) -> str:
    """`value [low, high]`, a dash where nothing is known, or a word with a footnote saying why there is no number."""
    if record is None:
        return MISSING
    if record.status != "ok":
        sentence = f"{record.task.name}: {record.reason}"
        if sentence not in footnotes:
            footnotes.append(sentence)
        word = "n/a" if record.status == "not_applicable" else "failed"
        return f"{word} ({footnotes.index(sentence) + 1})"
    score = record.scores.get(column.metric)
    return MISSING if score is None else interval_text(score.value, *ends(record, column.metric))


def wide(table: Table, format: Wide) -> str:
    """A table for each dimension, one row a subject: its size, its places, then each metric; then the notes."""
    footnotes: list[str] = []
    parts = [_section(table, section, format, footnotes) for section in sections(table)]
    told = notes(table)
    if format == "latex":
        numbered = [f"({i}) {text}" for i, text in enumerate(footnotes, 1)]
        comments = [f"% {one_line(text)}" for text in [*numbered, *told]]
        needs = r"% needs \usepackage{booktabs}"
        return "\n".join([f"% {one_line(table.title)}", needs, *parts, *comments]) + "\n"
    lines = [f"### {markdown(table.title)}", "", *parts, f"Value [95 % interval]. {LEGEND}.", ""]
    lines += [f"({i}) {markdown(text)}" + "  " for i, text in enumerate(footnotes, 1)]
    lines += [f"{text}.  " for text in [*table.remarks, *map(markdown, told)]]
    lines += ["", *_recipes(table)] if table.recipes else []
    return "\n".join(lines).rstrip() + "\n"


def _section(table: Table, section: Section, format: Wide, footnotes: list[str]) -> str:
    """One dimension as a table under its heading.

    Args:
        table: the site's.
        section: its columns.
        format: Markdown or LaTeX.
        footnotes: reasons that stand in place of numbers; those of this section are added.
    """
    from tabulate import tabulate

    beside, scaled = sizes(table), scaled_columns(table, section.columns)
    ranking = table.ranking
    places = table.rankings[ranking].of if ranking is not None and ranking in section.columns else {}
    marks = [head for head in PLACES if any(place_text(head, s) for s in places.values())]
    front = table.dominated if section.construct == "fidelity" else {}
    headers = ["subject", *(["d_sae", "L0"] if beside else []), *marks, *(["dominated by"] if front else [])]
    for column in section.columns:
        headers += [column.title, *(["calibrated"] if column in scaled else [])]
    body = []
    for subject, kind in table.rows:
        if not any((subject, c) in table.cells for c in section.columns):
            continue
        row = [subject + MARKS[kind], *(size_text(beside[subject]) if beside else ())]
        row += [place_text(head, places.get(subject, SubjectRank())) for head in marks]
        row += [dominators_text(front.get(subject))] if front else []
        for column in section.columns:
            row.append(cell_text(table.cells.get((subject, column)), column, footnotes))
            if column in scaled:
                score = table.rankings[column].of.get(subject)
                row.append(MISSING if score is None or score.calibrated is None else interval_text(*score.calibrated))
        body.append(row)
    layout = "latex_booktabs" if format == "latex" else "github"
    escape = one_line if format == "latex" else markdown  # tabulate escapes what LaTeX reads as commands
    body, headers = [[escape(cell) for cell in row] for row in body], [escape(head) for head in headers]
    text = tabulate(body, headers, tablefmt=layout, disable_numparse=True)
    if format == "latex":
        text = re.sub(r"^(\s*)([\[*])", r"\1{\2}", text, flags=re.M)  # else an argument of the \\ before it
        for character, command in IN_LATEX.items():
            text = text.replace(character, command)
    heading = section.heading
    if format == "latex":
        return f"% {heading}\n{text}" if heading else text
    return f"{heading}\n\n{text}\n" if heading else f"{text}\n"


def dominators_text(names: list[str] | None) -> str:
    """`front` for an SAE that none dominates, else one that does and how many more; empty for what is no SAE."""
    if names is None:
        return ""
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return names[0] + more if names else "front"


RECIPES = (
    "Recipes: SAEs whose metadata agree on all but the training seed; mean of their scores and sd over training seeds."
    " Rank: among recipes, a 95 % interval for each row by itself, for units and training seeds drawn anew."
)


def recipe_rows(table: Table) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of a table of recipes that were trained under several seeds."""
    column = table.ranking
    heads = ["recipe", "training seeds", "" if column is None else column.title, "sd over seeds", "rank"]
    body = [
        [
            markdown(r.name),
            str(r.seeds),
            figure(r.mean),
            MISSING if r.sd is None else small(r.sd),
            MISSING if r.rank is None else span_text(*r.rank),
        ]
        for r in table.recipes
    ]
    return heads, body


def _recipes(table: Table) -> list[str]:
    """The table of recipes in Markdown, under its legend."""
    from tabulate import tabulate

    heads, body = recipe_rows(table)
    return [*wrap(RECIPES, 120), "", tabulate(body, heads, tablefmt="github", disable_numparse=True)]
