"""Notes under a table: how to read marks, ranks and scales, what no audit has seen, the noise of each metric."""

from __future__ import annotations

from collections.abc import Sequence

from saebench_lite.records.record import Record
from saebench_lite.records.selection import variants
from saebench_lite.records.verdicts import UNAUDITED
from saebench_lite.report.numbers import MISSING, NO_INTERVAL, ends, over_texts_told, small, span_text
from saebench_lite.report.ranking import MetricRanking, SubjectRank
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


def scaled_columns(table: Table, columns: list[Column]) -> list[Column]:
    """Those of some columns that have calibrated scores."""
    return [c for c in columns if any(s.calibrated for s in table.rankings[c].of.values())]


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
        others = table.other_controls(ranking)
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


def notes(table: Table) -> list[str]:
    """How to read marks, ranks and scales, what no audit has seen, then a line a metric on its noise.

    Only columns of the table are spoken of, and the one that orders it.
    """
    ranking, scaled = table.ranking, scaled_columns(table, table.columns)
    places = {} if ranking is None else table.rankings[ranking].of
    marks = [head for head in PLACES if any(place_text(head, s) for s in places.values())]
    out = [] if ranking is None else _place_notes(table, ranking, marks)
    out += table_variants(table).values()
    if any(kind == "control" and name.startswith("permuted_decoder") for name, kind in table.rows):
        out.append(PERMUTED)
    cells = [(c, r) for (_, c), r in table.cells.items() if c in {*table.columns}]
    if any(r.status == "failed" for _, r in cells):
        out.append("Rows that failed go by: saebench-lite records rm FOLDER --failed")
    if any(ends(r, c.metric)[0] is None for c, r in cells if c.metric in r.scores):
        out.append(NO_INTERVAL)
    out += _scale_notes(table, scaled)
    out += list(dict.fromkeys(s.note for c in table.columns if (s := table.rankings[c]).note))
    if table.dominated and any(c.construct == "fidelity" for c in table.columns):
        out.append(
            "Dominated by: an SAE with no more active latents that is better on every fidelity metric shown, one-sided"
            f" paired tests over units, step-down over all pairs, at {NOMINAL}"
        )
    beside = {(r.task.name, m) for _, r in cells for m in r.task.beside}
    if found := _named([c for c in table.columns if (c.task, c.metric) in beside]):
        out.append(f"Beside the headlines, for comparison or to read these by: {found}")
    for verdict, sentence in AUDITED.items():
        if found := _named([c for c in table.columns if table.verdicts.get(c) == verdict]):
            out.append(f"{sentence}: {found}")
    for column in table.columns:
        records = [r for c, r in cells if c == column and column.metric in r.scores]
        if records:
            out.append(_noise(column, records, table.rankings[column]))
    return out


def _scale_notes(table: Table, scaled: list[Column]) -> list[str]:
    """What 0 and 1 of calibrated scores are, and why others have none: a line for metrics of which the same is said.

    Args:
        table: the table.
        scaled: its columns with calibrated scores.
    """
    said: dict[str, list[Column]] = {}
    unknown: dict[str, list[Column]] = {}
    for column in table.columns:
        of = table.rankings[column]
        if column in scaled:
            scale = f"0 is the best random control ({of.control}), 1 the best baseline ({of.ceiling})"
            said.setdefault(scale, []).append(column)
        elif of.unscaled is not None:
            unknown.setdefault(of.unscaled, []).append(column)
    out = ["Calibrated" + (f", {_named(of)}" if len(scaled) > 1 else "") + f": {text}" for text, of in said.items()]
    return out + [f"No calibrated score of {_named(of)}: {text}" for text, of in unknown.items()]


def table_variants(table: Table) -> dict[tuple[str, str], str]:
    """(task, code) -> a sentence on what each code in square brackets in the heads of columns stands for."""
    known = variants(r for (_, c), r in table.cells.items() if c.variant and c in table.columns)
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
