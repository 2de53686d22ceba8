"""Leaderboards out of records and verdicts alone: no torch, no model, no network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Literal

from saebench_lite.errors import SaebenchError
from saebench_lite.names import RANDOM
from saebench_lite.records.metric import Metric
from saebench_lite.records.random_model_controls import SUFFIX, random_model_controls
from saebench_lite.records.record import Record
from saebench_lite.records.selection import SiteAndData, newest_by_subject, site_and_data, site_titles, variant
from saebench_lite.records.types import Kind, MetricScore
from saebench_lite.records.verdicts import Verdicts, shipped_verdicts
from saebench_lite.report.group_sentences import sentences
from saebench_lite.report.l0_dependence import l0_dependence
from saebench_lite.report.markup import markdown
from saebench_lite.report.page import to_html
from saebench_lite.report.pareto import dominated
from saebench_lite.report.ranking import rank_metric
from saebench_lite.report.recipes import recipes
from saebench_lite.report.rows import long_rows, to_csv
from saebench_lite.report.sections import l0_of
from saebench_lite.report.sites import over_sites
from saebench_lite.report.table import Column, Table
from saebench_lite.report.text import wide

Format = Literal["md", "csv", "json", "latex", "html"]


FORMATS: tuple[Format, ...] = ("md", "csv", "json", "latex", "html")


Metrics = Literal["headline", "all"]


def leaderboard_text(
    records: Sequence[Record], format: Format = "md", metrics: Metrics = "headline", verdicts: Verdicts | None = None
) -> str:
    """The records as text: wide tables (md, latex), one row a (subject, metric) (csv, json) or a page (html).

    In Markdown a summary over sites follows where there are several.

    SaebenchError if there are no records or the format is unknown.

    Args:
        records: Of any number of sites, subjects and tasks.
        format: md, csv, json, latex or html.
        metrics: Columns, and what a page ranks: `headline`, those that tasks show unasked, or `all` scored.
        verdicts: Of the audit on the metrics; those shipped with this version by default.
    """
    if not records:
        raise SaebenchError("there are no records to show; run something with --out here first")
    if format not in FORMATS:
        raise SaebenchError(f"format {format!r} is not known; choose from {', '.join(FORMATS)}")
    verdicts = shipped_verdicts() if verdicts is None else verdicts
    if format == "json":
        return json.dumps(long_rows(records, verdicts), indent=1, allow_nan=False) + "\n"
    if format == "csv":
        return to_csv(long_rows(records, verdicts))
    per_site = tables(records, verdicts, metrics)
    if format == "html":
        return to_html(per_site, records, verdicts)
    summary = over_sites(per_site) if format == "md" else ""
    return "\n".join([*(wide(table, format) for table in per_site), *([summary] if summary else [])])


def tables(records: Sequence[Record], verdicts: Verdicts, metrics: Metrics = "headline") -> list[Table]:
    """One table for each (model, hook, dtype, data); of each task only its newest version."""
    groups: dict[SiteAndData, list[Record]] = {}
    for record in [*records, *(control for control, _ in random_model_controls(records))]:
        groups.setdefault(site_and_data(record), []).append(record)
    titles = site_titles(r for group in groups.values() for r in group)
    return sorted((_table(group, titles[k], verdicts, metrics) for k, group in groups.items()), key=lambda t: t.title)


def _table(records: list[Record], title: str, verdicts: Verdicts, metrics: Metrics) -> Table:
    newest: dict[str, int] = {}
    for r in records:
        newest[r.task.name] = max(r.task.version, newest.get(r.task.name, 0))
    old = sorted({(r.task.name, r.task.version) for r in records if r.task.version < newest[r.task.name]})
    shown = [r for r in records if r.task.version == newest[r.task.name]]
    cells = _cells(shown, metrics, verdicts)
    scored = {r.task.name for r in shown if r.scores}
    with_scores = {c for (_, c), r in cells.items() if c.metric in r.scores}
    columns = [c for c in dict.fromkeys(c for _, c in cells) if c.task not in scored or c in with_scores]
    declared = {(r.task.name, r.task.version, m.name): m for r in shown for m in r.task.metrics.values()}
    known = [(c, declared.get((c.task, c.version, c.metric))) for c in columns]
    said = {c: v for c, m in known if m is not None and (v := verdicts.of(c.task, c.version, m)) is not None}
    kinds: dict[str, Kind] = {r.subject.name: r.subject.kind for r in shown}
    notes = [f"{markdown(task)} version {version} is older than {newest[task]} and not shown" for task, version in old]
    if off := _off_headline(shown, {(c.task, c.metric) for c in columns}, verdicts):
        notes.append(f"off the headline, for by the audit they miss what they claim to measure: {', '.join(off)}")
    if any(name.endswith(SUFFIX) for name in kinds):
        notes.append(
            f"`{SUFFIX.strip()}`: an SAE of {markdown(RANDOM + records[0].site.model)}, scored on that model's own"
            " activations"
        )
    heads = {(r.task.name, m) for r in shown for m in r.task.headline}
    candidates = sorted(
        (c for c in columns if said.get(c) != "misses"),
        key=lambda c: ((c.task, c.metric) not in heads, said.get(c) == "open"),
    )
    ranking = _ranking_column(candidates, cells)
    rows = sorted(kinds.items(), key=lambda item: _order(item[0], ranking, cells))
    of = {c: [cells[s, c] for s, _ in rows if (s, c) in cells] for c in columns}
    return Table(
        title=title,
        columns=columns,
        verdicts=said,
        rows=rows,
        cells=cells,
        remarks=notes,
        ranking=ranking,
        rankings={c: rank_metric(of[c], c.metric) for c in columns},
        sentences=[]
        if ranking is None
        else [*sentences(of[ranking], ranking.metric), *l0_dependence(of[ranking], ranking.metric, l0_of(shown))],
        dominated=_dominated(columns, of),
        recipes=[] if ranking is None else recipes(of[ranking], ranking.metric),
    )


def _dominated(columns: Sequence[Column], of: Mapping[Column, Sequence[Record]]) -> dict[str, list[str]]:
    """By the fidelity columns of one variant each."""
    fidelity = {c.metric: of[c] for c in columns if c.construct == "fidelity" and c.better in ("higher", "lower")}
    return dominated(fidelity, l0_of([r for records in of.values() for r in records])) if fidelity else {}


def _cells(records: Sequence[Record], metrics: Metrics, verdicts: Verdicts) -> dict[tuple[str, Column], Record]:
    """(subject, column) -> its newest record, columns in the order in which they are shown.

    A metric that misses by the audit is no column as long as the task shows another with a direction. A task of which
    nothing was scored has the metrics that it shows as columns, so that the reasons are seen; one that shows none
    has the first of its metrics.
    """
    declared: dict[tuple[str, str], Metric] = {}
    groups: dict[tuple[str, str], list[Record]] = {}
    for r in records:
        declared |= {(r.task.name, m.name): m for m in r.task.metrics.values()}
        groups.setdefault((r.task.name, variant(r)), []).append(r)
    tasks = [task for task, _ in groups]
    cells = {}
    for (task, digits), group in sorted(groups.items()):
        label = "" if tasks.count(task) == 1 else digits
        names = {m for r in group for m in r.scores} if metrics == "all" else set()
        named = [m for r in group for m in r.task.shown or [*r.scores, *r.task.metrics][:1]]
        directed = [m for t, m in declared if t == task and declared[t, m].better != "neither"]
        headline = verdicts.headline(task, group[0].task.version, named, directed)
        for metric in dict.fromkeys([*(m for m in named if m in names), *sorted(names)] or headline):
            known = declared.get((task, metric))
            facts = ("neither", None) if known is None else (known.better, known.construct)
            column = Column(task, group[0].task.version, label, metric, *facts)
            cells |= {(name, column): r for name, r in newest_by_subject(group).items()}
    return cells


def _off_headline(records: Sequence[Record], shown: set[tuple[str, str]], verdicts: Verdicts) -> list[str]:
    """`task metric` of each scored metric that the task shows and that misses and is not among those `shown`."""
    scored = dict.fromkeys((r.task.name, r.task.version, m) for r in records for m in r.task.shown if m in r.scores)
    return [f"{t} {m}" for t, version, m in scored if (t, m) not in shown and verdicts.misses(t, version, m)]


def _score(record: Record | None, column: Column) -> MetricScore | None:
    return None if record is None else record.scores.get(column.metric)


def _order(subject: str, ranking: Column | None, cells: dict[tuple[str, Column], Record]) -> tuple[int, float, str]:
    """Best first by the ranking column; subjects without it come last, by name."""
    score = None if ranking is None else _score(cells.get((subject, ranking)), ranking)
    if ranking is None or score is None:
        return (1, 0.0, subject)
    return (0, -score.value if ranking.better == "higher" else score.value, subject)


def _ranking_column(columns: list[Column], cells: Mapping[tuple[str, Column], Record]) -> Column | None:
    """The first column with a direction, of a probing task where there is one: baselines have no other score.

    Of two such tasks that with the most units, which can tell more apart; sparse probing where they are as many.
    """
    directed = [c for c in columns if c.better in ("higher", "lower")]
    probing = [next((c for c in directed if c.task == t), None) for t in ("sparse_probing", "concept_detection")]
    known = [c for c in probing if c is not None]
    if not known:
        return next((c for c in directed if c.task == columns[0].task), None)

    def units(column: Column) -> int:
        return max(
            (r.scores[c.metric].n for (_, c), r in cells.items() if c == column and c.metric in r.scores), default=0
        )

    return max(known, key=units)
