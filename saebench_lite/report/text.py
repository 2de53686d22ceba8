"""Tables as text: Markdown and LaTeX."""

from __future__ import annotations

import re
from collections.abc import Sequence
from textwrap import wrap
from typing import Literal

from saebench_lite.records.record import Record
from saebench_lite.records.selection import variants
from saebench_lite.records.verdicts import UNAUDITED
from saebench_lite.report.markup import markdown, one_line
from saebench_lite.report.numbers import (
    LEGEND,
    MARKS,
    MISSING,
    NO_INTERVAL,
    ends,
    figure,
    interval_text,
    over_texts_told,
    small,
    span_text,
)
from saebench_lite.report.ranking import MetricRanking, SubjectRank
from saebench_lite.report.sections import Section, sections, size_text, sizes
from saebench_lite.report.table import Column, Table
from saebench_lite.stats.bootstrap_t import FAMILY_LEVEL

PLACES = ("control", "baseline", "rank", "better than")
"Columns on where a subject stands by the ranking metric; those without an entry are left out."

AUDITED: dict[str, str] = {
    "misses": "Not for ranking, for by the audit they miss what they claim to measure",
    "open": "Open, for the audit leaves open whether they follow what they claim to measure",
    UNAUDITED: "Unaudited, for no audit has seen this version of them",
}
"What a note says of metrics with a verdict."
NOMINAL = f"a nominal {100 * FAMILY_LEVEL:.0f} %"
PERMUTED = (
    "permuted_decoder keeps its SAE's encoder: what reads codes alone has its SAE's score, and only what reads the"
    " decoder can lose"
)
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


def _scaled(table: Table, columns: list[Column]) -> list[Column]:
    return [c for c in columns if any(s.calibrated for s in table.rankings[c].of.values())]


def _section(table: Table, section: Section, format: Wide, footnotes: list[str]) -> str:
    """One dimension as a table under its heading.

    Args:
        table: the site's.
        section: its columns.
        format: Markdown or LaTeX.
        footnotes: reasons that stand in place of numbers; those of this section are added.
    """
    from tabulate import tabulate

    beside, scaled = sizes(table), _scaled(table, section.columns)
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


def place_text(head: str, place: SubjectRank) -> str:
    """Cell of a subject in one of the columns PLACES; empty where nothing is known."""
    if head == "control":
        return "+" if place.above_control else ""
    if head == "baseline":
        return "below" if place.below_baseline else ""
    if head == "rank":
        tied = ", tied with best" if place.tied_with_best and place.rank != (1, 1) else ""
        return span_text(*place.rank) + tied if place.rank else place.beside or ""
    if place.better_than is None or not place.likely_better_than:
        return ""
    likely = f"~{place.likely_better_than}" if place.likely_better_than > place.better_than else ""
    return " ".join(part for part in (str(place.better_than or ""), likely) if part)


def _place_notes(table: Table, ranking: Column, marks: list[str]) -> list[str]:
    """How to read the columns PLACES that the table has, or the sentences that stand in their place.

    Args:
        table: the table.
        ranking: its ranking column.
        marks: those of PLACES that are shown.
    """
    placed, notes = table.rankings[ranking], []
    by = f"{ranking.task} {ranking.metric}"
    if "control" in marks:
        others = {s.control for s in placed.of.values() if s.control and not s.control.startswith("matched_random of")}
        tests = f"paired tests over units, step-down over the SAEs, at {NOMINAL}"
        if _units([r for (_, c), r in table.cells.items() if c == ranking], ranking.metric) == 1:
            tests = "tests over the texts of the one unit, Holm over the SAEs, at 5 %"
        notes.append(
            f"+: better than its control by {by}, one-sided {tests}; the"
            " control is the random dictionary of its width and L0 where there is one"
            + "".join(f", else the best control of the table ({name})" for name in sorted(others))
        )
    if "baseline" in marks:
        best = next(s.baseline for s in placed.of.values() if s.below_baseline)
        notes.append(
            f"Below: the best supervised baseline ({best}) is better by {by}, tested as SAEs are against controls"
        )
    if "rank" in marks:
        notes.append(
            f"Rank: among the {placed.saes} SAEs by {by}, a 95 % interval for each row by itself, of these files,"
            " not of their recipes; tied with best: no SAE is significantly better; above or below all SAEs:"
            " one-sided against each of them, Holm over the rows that are no SAE"
        )
    if "better than" in marks:
        notes.append(
            "Better than: how many SAEs a row is better than, over all pairs of SAEs together (Romano-Wolf); ~ how many"
            f" at a false discovery rate of 5 %. All but the latter at {NOMINAL} over the table, so that any mark is"
            " false in at most 5 % of tables. How often all of this errs: results/simulations/ranks.md"
        )
    return notes + table.sentences


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


def notes(table: Table) -> list[str]:
    """How to read marks, ranks and scales, what no audit has seen, then a line a metric on its noise."""
    ranking, scaled = table.ranking, _scaled(table, table.columns)
    places = {} if ranking is None else table.rankings[ranking].of
    marks = [head for head in PLACES if any(place_text(head, s) for s in places.values())]
    out = [] if ranking is None else _place_notes(table, ranking, marks)
    out += table_variants(table).values()
    if any(kind == "control" and name.startswith("permuted_decoder") for name, kind in table.rows):
        out.append(PERMUTED)
    if any(r.status == "failed" for r in table.cells.values()):
        out.append("Rows that failed go by: saebench-lite records rm FOLDER --failed")
    shown = [(r, c.metric) for (_, c), r in table.cells.items() if c.metric in r.scores]
    if any(ends(r, m)[0] is None for r, m in shown):
        out.append(NO_INTERVAL)
    for column in scaled:
        ranking_of = table.rankings[column]
        name = "" if len(scaled) == 1 else f", {column.task} {column.metric}"
        scale = f"0 is the best random control ({ranking_of.control}), 1 the best baseline ({ranking_of.ceiling})"
        out.append(f"Calibrated{name}: {scale}")
    out += list(dict.fromkeys(s.note for s in table.rankings.values() if s.note))
    if table.dominated:
        out.append(
            "Dominated by: an SAE with no more active latents that is better on every fidelity metric shown, one-sided"
            f" paired tests over units, step-down over all pairs, at {NOMINAL}"
        )
    beside = {(r.task.name, m) for (_, c), r in table.cells.items() for m in r.task.beside}
    if found := _named([c for c in table.columns if (c.task, c.metric) in beside]):
        out.append(f"Beside the headlines, for comparison or to read these by: {found}")
    for verdict, sentence in AUDITED.items():
        if found := _named([c for c, said in table.verdicts.items() if said == verdict]):
            out.append(f"{sentence}: {found}")
    for column in table.columns:
        records = [r for (_, c), r in table.cells.items() if c == column and column.metric in r.scores]
        if records:
            out.append(_noise(column, records, table.rankings[column]))
    return out


def table_variants(table: Table) -> dict[tuple[str, str], str]:
    """(task, code) -> a sentence on what each code in square brackets in the heads of columns stands for."""
    known = variants(r for (_, c), r in table.cells.items() if c.variant)
    return {(task, code): f"Settings of {task} [{code}]: {told}" for (task, code), told in known.items()}


def _named(columns: list[Column]) -> str:
    """`task metric` of each, once."""
    return ", ".join(dict.fromkeys(f"{c.task} {c.metric}" for c in columns))


def _units(records: Sequence[Record], metric: str) -> int:
    """The most units that any of some records has a value in."""
    return max((r.scores[metric].n for r in records if metric in r.scores), default=0)


def _noise(column: Column, records: list[Record], ranking: MetricRanking) -> str:
    units = _units(records, column.metric)
    seeds = records[0].seeds
    suffix = f" [{column.variant}]" if column.variant else ""
    least = min((r.scores[column.metric].n for r in records if column.metric in r.scores), default=0)
    head = f"{column.task}{suffix} {column.metric}: {span_text(least, units)} unit{'s' if units != 1 else ''}"
    head += over_texts_told(records, column.metric, units)
    if not seeds:
        return f"{head}, no random numbers drawn"
    head += f", {len(seeds)} seed{'s' if len(seeds) != 1 else ''}"
    if ranking.noise is None:
        return f"{head}, reseed noise unknown"
    if not ranking.noise.drawn:
        return f"{head}, reseed sd {MISSING}, CV {MISSING}, MRD {MISSING}: seeds change no digit of an SAE's score"
    cv = MISSING if ranking.noise.cv is None else f"{float(f'{100 * ranking.noise.cv:.2g}'):g} %"
    texts = "" if ranking.noise.sampling is None else f", sd over test texts {small(ranking.noise.sampling)}"
    return f"{head}, reseed sd {small(ranking.noise.sd)}, CV {cv}{texts}, MRD {small(ranking.noise.mrd)}"
