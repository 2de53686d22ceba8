"""Tables as text: Markdown and LaTeX."""

from __future__ import annotations

from typing import Literal

from saebench_lite.records.record import Record
from saebench_lite.report.numbers import LEGEND, MARKS, MISSING, interval_text, small, span_text
from saebench_lite.report.ranking import MetricRanking, SubjectRank
from saebench_lite.report.table import Column, Table

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
    return MISSING if score is None else interval_text(score.value, score.low, score.high)


def wide(table: Table, format: Wide) -> str:
    """One row a subject; the rank, then each metric with its calibrated score where there is one; then the notes."""
    from tabulate import tabulate

    footnotes: list[str] = []
    ranking, rankings = table.ranking, table.rankings
    of = rankings[ranking].of if ranking is not None else {}
    ranked = any(s.rank for s in of.values())
    scaled = [c for c in table.columns if any(s.calibrated for s in rankings[c].of.values())]
    headers = ["subject", *(["rank"] if ranked else [])]
    for column in table.columns:
        headers += [column.title, *(["calibrated"] if column in scaled else [])]
    body = []
    for subject, kind in table.rows:
        row = [subject + MARKS[kind], *([_rank(of.get(subject))] if ranked else [])]
        for column in table.columns:
            row.append(cell_text(table.cells.get((subject, column)), column, footnotes))
            if column in scaled:
                score = rankings[column].of.get(subject)
                row.append(MISSING if score is None or score.calibrated is None else interval_text(*score.calibrated))
        body.append(row)
    notes = _notes(table, ranked, scaled)
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


def _rank(place: SubjectRank | None) -> str:
    return MISSING if place is None or place.rank is None else span_text(*place.rank)


def _notes(table: Table, ranked: bool, scaled: list[Column]) -> list[str]:
    """How to read the ranks and the scales, what no audit has seen, then a line a metric on its noise."""
    notes, ranking = [], table.ranking
    if ranked and ranking is not None:
        notes.append(
            f"Rank: by {ranking.task} {ranking.metric}, paired tests over units, Holm over pairs; what the data cannot"
            " separate shares a rank"
        )
    for column in scaled:
        ranking_of = table.rankings[column]
        name = "" if len(scaled) == 1 else f", {column.task} {column.metric}"
        ends = f"0 is the best control ({ranking_of.control}), 1 the best baseline ({ranking_of.ceiling})"
        notes.append(f"Calibrated{name}: {ends}")
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
    cv = MISSING if ranking.noise.cv is None else f"{float(f'{100 * ranking.noise.cv:.2g}'):g} %"
    return f"{head}, reseed sd {small(ranking.noise.sd)}, CV {cv}, MRD {small(ranking.noise.mrd)}"
