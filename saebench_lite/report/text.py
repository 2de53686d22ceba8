"""Tables as text: Markdown and LaTeX."""

from __future__ import annotations

from typing import Literal

from saebench_lite.records.record import Record
from saebench_lite.report.numbers import (
    LEGEND,
    MARKS,
    MISSING,
    NO_INTERVAL,
    ends,
    figure,
    interval_text,
    small,
    span_text,
)
from saebench_lite.report.ranking import MetricRanking, SubjectRank
from saebench_lite.report.table import Column, Table

PLACES = ("control", "rank", "better than")
"Columns on where a subject stands by the ranking metric; those without an entry are left out."


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
    """One row a subject: its places, then each metric with its calibrated score where there is one; then the notes."""
    from tabulate import tabulate

    footnotes: list[str] = []
    ranking, rankings = table.ranking, table.rankings
    of = rankings[ranking].of if ranking is not None else {}
    marks = [head for head in PLACES if any(_place(head, s) for s in of.values())]
    scaled = [c for c in table.columns if any(s.calibrated for s in rankings[c].of.values())]
    headers = ["subject", *marks]
    for column in table.columns:
        headers += [column.title, *(["calibrated"] if column in scaled else [])]
    body = []
    for subject, kind in table.rows:
        row = [subject + MARKS[kind], *(_place(head, of.get(subject, SubjectRank())) for head in marks)]
        for column in table.columns:
            row.append(cell_text(table.cells.get((subject, column)), column, footnotes))
            if column in scaled:
                score = rankings[column].of.get(subject)
                row.append(MISSING if score is None or score.calibrated is None else interval_text(*score.calibrated))
        body.append(row)
    notes = _notes(table, marks, scaled)
    greyed = _greyed(table, format, footnotes) if table.failed else []
    if format == "latex":
        lines = [f"% {table.title}", tabulate(body, headers, tablefmt="latex_booktabs", disable_numparse=True)]
        lines += greyed
        return (
            "\n".join([*lines, *(f"% ({i}) {t}" for i, t in enumerate(footnotes, 1)), *(f"% {n}" for n in notes)])
            + "\n"
        )
    lines = [f"### {table.title}", "", tabulate(body, headers, tablefmt="github", disable_numparse=True), ""]
    lines += [f"Value [95 % interval]. {LEGEND}.", ""]
    lines += [f"({i}) {text}" + "  " for i, text in enumerate(footnotes, 1)]
    lines += [f"{text}.  " for text in [*table.remarks, *notes]]
    lines += ["", *_recipes(table)] if table.recipes else []
    lines += ["", *greyed] if greyed else []
    return "\n".join(lines).rstrip() + "\n"


def _greyed(table: Table, format: Wide, footnotes: list[str]) -> list[str]:
    """The columns that failed the audit: small in Markdown, grey in LaTeX."""
    from tabulate import tabulate

    def grey(text: str) -> str:
        return f"<sub>{text}</sub>" if format == "md" else "{\\color{gray}" + text + "}"

    body = [
        [
            grey(subject + MARKS[kind]),
            *(grey(cell_text(table.cells.get((subject, c)), c, footnotes)) for c in table.failed),
        ]
        for subject, kind in table.rows
        if any((subject, c) in table.cells for c in table.failed)
    ]
    heads = [grey(h) for h in ("subject", *(c.title for c in table.failed))]
    if format == "latex":
        return ["% failed the audit", tabulate(body, heads, tablefmt="latex_raw", disable_numparse=True)]
    return [
        "Not for ranking: these metrics failed the audit (on synthetic worlds they do not follow how well the true",
        "features were found) and are shown for comparison only.",
        "",
        tabulate(body, heads, tablefmt="github", disable_numparse=True),
    ]


def _place(head: str, place: SubjectRank) -> str:
    """Cell of a subject in one of the columns PLACES; empty where nothing is known."""
    if head == "control":
        return "+" if place.above_control else ""
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
    found, notes = table.rankings[ranking], []
    by = f"{ranking.task} {ranking.metric}"
    if "control" in marks:
        others = {s.control for name, s in found.of.items() if s.control and s.control != f"matched_random of {name}"}
        notes.append(
            f"+: better than its control by {by}, one-sided paired tests over units, step-down over the SAEs; the"
            " control is the SAE's own matched_random where there is one"
            + "".join(f", else the best control of the table ({name})" for name in sorted(others))
        )
    if "rank" in marks:
        notes.append(
            f"Rank: among the {found.saes} SAEs by {by}, a 95 % interval for each row by itself, of these files,"
            " not of their recipes; tied with best: no SAE is significantly better, at 5 % over the table; above or"
            " below all SAEs: one-sided against each of them, Holm over the rows that are no SAE"
        )
    if "better than" in marks:
        notes.append(
            "Better than: how many SAEs a row is better than, at 5 % over all pairs of SAEs together (Romano-Wolf); ~"
            " how many at a false discovery rate of 5 %. How often all of this errs: results/simulations/ranks.md"
        )
    return notes + table.sentences


def _recipes(table: Table) -> list[str]:
    """A table of recipes that were trained under several seeds."""
    from tabulate import tabulate

    column = table.ranking
    heads = ["recipe", "training seeds", "" if column is None else column.title, "sd over seeds", "rank"]
    body = [
        [
            r.name,
            str(r.seeds),
            figure(r.mean),
            MISSING if r.sd is None else small(r.sd),
            MISSING if r.rank is None else span_text(*r.rank),
        ]
        for r in table.recipes
    ]
    return [
        "Recipes: SAEs whose metadata agree on all but the training seed; mean of their scores and sd over training",
        "seeds. Rank: among recipes, a 95 % interval for each row by itself, for units and training seeds drawn anew.",
        "",
        tabulate(body, heads, tablefmt="github", disable_numparse=True),
    ]


def _notes(table: Table, marks: list[str], scaled: list[Column]) -> list[str]:
    """How to read marks, ranks and scales, what no audit has seen, then a line a metric on its noise."""
    notes = [] if table.ranking is None else _place_notes(table, table.ranking, marks)
    shown = [(r, c.metric) for (_, c), r in table.cells.items() if c.metric in r.scores]
    if any(r.scores[m].low is not None and ends(r, m)[0] is None for r, m in shown):
        notes.append(NO_INTERVAL)
    for column in scaled:
        ranking_of = table.rankings[column]
        name = "" if len(scaled) == 1 else f", {column.task} {column.metric}"
        scale = f"0 is the best control ({ranking_of.control}), 1 the best baseline ({ranking_of.ceiling})"
        notes.append(f"Calibrated{name}: {scale}")
    notes += list(dict.fromkeys(s.note for s in table.rankings.values() if s.note))
    if ungraded := [f"{c.task} {c.metric}" for c in table.ungraded]:
        notes.append(f"Ungraded, for no audit has seen this version of them: {', '.join(dict.fromkeys(ungraded))}")
    for column in table.columns:
        records = [r for (_, c), r in table.cells.items() if c == column and column.metric in r.scores]
        if records:
            notes.append(_noise(column, records, table.rankings[column]))
    return notes


def _noise(column: Column, records: list[Record], ranking: MetricRanking) -> str:
    units = max(r.scores[column.metric].n for r in records)
    seeds = records[0].seeds
    suffix = f" [{column.variant}]" if column.variant else ""
    head = f"{column.task}{suffix} {column.metric}: {units} unit{'s' if units != 1 else ''}"
    if not seeds:
        return f"{head}, no random numbers drawn"
    head += f", {len(seeds)} seed{'s' if len(seeds) != 1 else ''}"
    if ranking.noise is None:
        return f"{head}, reseed noise unknown"
    if not ranking.noise.drawn:
        return f"{head}, reseed sd {MISSING}, CV {MISSING}, MRD {MISSING}: seeds change no digit of an SAE's score"
    cv = MISSING if ranking.noise.cv is None else f"{float(f'{100 * ranking.noise.cv:.2g}'):g} %"
    return f"{head}, reseed sd {small(ranking.noise.sd)}, CV {cv}, MRD {small(ranking.noise.mrd)}"
