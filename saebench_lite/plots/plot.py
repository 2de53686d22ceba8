"""Figures of records by kind, with the table that each shows: from Python and for the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

from saebench_lite.errors import SaebenchError, require
from saebench_lite.files import atomic_path, check_file, write_text
from saebench_lite.plots import labels
from saebench_lite.plots.curve import curves
from saebench_lite.plots.curve_data import TASK, curve_columns, curve_rows, known_curves
from saebench_lite.plots.fit import fit
from saebench_lite.plots.heat import heat_map
from saebench_lite.plots.heat_data import heat_rows
from saebench_lite.plots.scatter import AxisLabels, scatter
from saebench_lite.plots.scatter_data import scatter_rows
from saebench_lite.plots.select import find_column, scores_of, site_tables, with_column
from saebench_lite.plots.style import STYLE
from saebench_lite.plots.training import TrainingPanel, training_curves
from saebench_lite.plots.training_data import training_rows, without_curve
from saebench_lite.plots.zf import zf
from saebench_lite.plots.zf_data import TASK as AFA
from saebench_lite.plots.zf_data import zf_rows
from saebench_lite.records.record import TABLES, Record, paths_of
from saebench_lite.report.page_columns import page_columns
from saebench_lite.report.results import records_of
from saebench_lite.report.rows import Cell, to_csv
from saebench_lite.report.sites import names_apart
from saebench_lite.report.table import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PlotKind = Literal["pareto", "probing-curve", "heatmap", "training", "truth", "zf"]
KINDS: tuple[PlotKind, ...] = get_args(PlotKind)
SUFFIXES = (".svg", ".pdf", ".png")
TRUTH = "truth"
"The task that scores dictionaries against the features of a world."


@dataclass(frozen=True, kw_only=True)
class PlotOptions:
    """What a figure shows; None takes the default of its kind, and each kind takes some of them."""

    y: str | None = None
    "pareto, truth: metric of the vertical axis, as `metric` or `task.metric`."
    x: str | None = None
    "pareto, truth: metric of the horizontal axis."
    metric: str | None = None
    "heatmap: the metric; probing-curve: auroc, accuracy or f1."
    pooling: str | None = None
    "probing-curve: how the tokens of a text are pooled."
    site: str | None = None
    "Title, or part of the title, of the one site that is shown."
    far: bool = False
    "pareto, truth: draw baselines and controls too that lie beyond the scale of the SAEs."


TAKES: dict[PlotKind, tuple[str, ...]] = {
    "pareto": ("y", "x", "site", "far"),
    "probing-curve": ("metric", "pooling", "site"),
    "heatmap": ("metric", "site"),
    "training": ("site",),
    "truth": ("y", "x", "site", "far"),
    "zf": ("site",),
}
"Options of each kind."


class Prepared(NamedTuple):
    """A figure that is yet to be drawn."""

    rows: list[dict[str, Cell]]
    "What it shows."
    draw: Callable[[], Figure]


def plot(records: Sequence[Record] | Path | str, kind: PlotKind, **options: str | bool | None) -> Figure:
    """A figure as matplotlib's `Figure`: `plot("results", "pareto", y="ce_delta")`.

    SaebenchError without matplotlib, for an unknown kind or option, and where the records do not hold what it shows.

    Args:
        records: of any number of sites, or a results folder.
        kind: pareto, probing-curve, heatmap, training, truth or zf.
        options: fields of `PlotOptions`.
    """
    require("a plot", "matplotlib", "plots")
    known = [f.name for f in fields(PlotOptions)]
    for name in options:
        if name not in known:
            raise SaebenchError(f"plot has no option {name!r}; choose from {', '.join(known)}")
    return _drawn(prepared(records_of(records), kind, PlotOptions(**options)))  # pyright: ignore[reportArgumentType]  # checked above


def save_plot(records: Sequence[Record], kind: PlotKind, out: Path, options: PlotOptions) -> tuple[Path, Path]:
    """Writes a figure, and beside it what it shows as CSV under the same stem; returns both paths.

    SaebenchError as for `plot`, and for a file that is no svg, pdf or png, cannot be written, or would put its CSV over
    that of a results folder.

    Args:
        records: of any number of sites.
        kind: pareto, probing-curve, heatmap, training, truth or zf.
        out: file of the figure.
        options: what it shows.
    """
    require("a plot", "matplotlib", "plots")
    if out.suffix.lower() not in SUFFIXES:
        raise SaebenchError(f"out {str(out)!r} must end in {', '.join(SUFFIXES)}; vector formats are svg and pdf")
    table = out.with_suffix(".csv")
    if table.name in TABLES and paths_of(table.parent):
        raise SaebenchError(f"out {str(out)!r} would write its data over the leaderboard {table}; give another name")
    for path in (out, table):
        check_file("out", path)
    ready = prepared(records, kind, options)
    import matplotlib

    figure = _drawn(ready)
    undated: dict[str, dict[str, object]] = {".svg": {"Date": None, "Creator": None}, ".pdf": {"CreationDate": None}}
    with matplotlib.rc_context(STYLE), atomic_path(out) as partial:  # pyright: ignore[reportArgumentType]  # a plain dict is taken
        figure.savefig(partial, metadata=undated.get(out.suffix.lower()), dpi=300)
    write_text(table, to_csv(ready.rows))
    return out, table


def prepared(records: Sequence[Record], kind: PlotKind, options: PlotOptions) -> Prepared:
    """The table of a figure and how it is drawn; SaebenchError as for `plot`."""
    if kind not in KINDS:
        raise SaebenchError(f"kind {kind!r} is not known; choose from {', '.join(KINDS)}")
    for name, value in asdict(options).items():
        if value not in (None, False) and name not in TAKES[kind]:
            raise SaebenchError(f"{kind} takes no {name} ({value}); it takes {', '.join(TAKES[kind])}")
    per_site = site_tables(records, options.site)
    makers: dict[PlotKind, Callable[[Sequence[Table], PlotOptions], Prepared]] = {
        "pareto": _pareto,
        "probing-curve": _probing_curve,
        "heatmap": _heatmap,
        "training": lambda tables, _: _training(tables),
        "truth": _truth,
        "zf": lambda tables, _: _zf(tables),
    }
    return makers[kind](per_site, options)


def _drawn(ready: Prepared) -> Figure:
    """The figure, with all its texts made and laid out under the suite's settings."""
    import matplotlib

    with matplotlib.rc_context(STYLE):  # pyright: ignore[reportArgumentType]  # a plain dict is taken
        figure = ready.draw()
        fit(figure)
    return figure


def _titles(per_site: Sequence[Table]) -> list[str]:
    """What tells the sites apart, as titles of panels; empty for a single one."""
    return names_apart([t.title for t in per_site])[1] if len(per_site) > 1 else [""]


def _pareto(per_site: Sequence[Table], options: PlotOptions) -> Prepared:
    fidelity = (c for t in per_site for c in t.columns if c.construct == "fidelity" and c.better != "neither")
    first = next(fidelity, None)
    if options.y is None and first is None:
        raise SaebenchError(
            "no record scores a metric of fidelity, which pareto shows by default; name one with y, such as"
            " sparse_probing.average_precision_max"
        )
    return _scatter(per_site, options, "" if first is None else f"{first.task}.{first.metric}", "l0")


def _truth(per_site: Sequence[Table], options: PlotOptions) -> Prepared:
    known = [[c for c in page_columns(t) if c.task == TRUTH and scores_of(t, c)] for t in per_site]
    worlds = [(t, columns) for t, columns in zip(per_site, known, strict=True) if columns]
    if not worlds:
        raise SaebenchError(
            f"no record is of the task {TRUTH}, which knows the features of a synthetic world; run it and the tasks to"
            " be judged with --model world:NAME"
        )
    table, columns = worlds[0]
    x = next((c for c in columns if c.metric == "feature_ap"), columns[0])
    if options.y is None and (table.ranking is None or table.ranking.task == TRUTH):
        raise SaebenchError(f"no task but {TRUTH} is scored in {table.title}; run one to hold against it, or name y")
    y = "" if table.ranking is None else f"{table.ranking.task}.{table.ranking.metric}"
    return _scatter([t for t, _ in worlds], options, y, f"{x.task}.{x.metric}")


def _scatter(per_site: Sequence[Table], options: PlotOptions, y: str, x: str) -> Prepared:
    """A scatter of each site that scores both metrics.

    Args:
        per_site: tables.
        options: name metrics that take the place of the defaults.
        y: default metric of the vertical axis.
        x: default metric of the horizontal one; `l0`: L0.
    """
    found = with_column(per_site, options.y or y)
    name = options.x or x
    over_l0 = name == "l0"
    if not over_l0:
        both = [t for t, _ in with_column([t for t, _ in found], name)]
        found = [(t, c) for t, c in found if t in both]
    columns = [(t, c, None if over_l0 else find_column(t, name)) for t, c in found]
    panels = [scatter_rows(t, c, across, options.far) for t, c, across in columns]
    if not any(r.role == "point" for rows in panels for r in rows):
        what = "L0; run the task reconstruction" if over_l0 else f"{name}"
        raise SaebenchError(f"no subject with a score of {options.y or y} has a value of {what}")
    table, column, across = columns[0]
    card = labels.card_of(table, column)
    at = labels.L0 if across is None else labels.along_axis(labels.card_of(table, across))
    axes = AxisLabels(at, labels.up_axis(card), log_x=over_l0)
    titles = _titles([t for t, *_ in columns])
    rows = [asdict(r) for panel in panels for r in panel]
    return Prepared(rows, lambda: scatter(list(zip(titles, panels, strict=True)), axes))


def _probing_curve(per_site: Sequence[Table], options: PlotOptions) -> Prepared:
    metric, pooling = options.metric or "auroc", options.pooling or "mean"
    found = [(t, columns) for t in per_site if len(columns := curve_columns(t, metric, pooling)) > 1]
    if not found:
        known = ", ".join(known_curves(per_site)) or f"none: run the task {TASK}"
        raise SaebenchError(
            f"no record scores {metric} of probes over k, pooled by {pooling}; curves there are: {known}"
        )
    panels = [curve_rows(t, columns) for t, columns in found]
    titles = _titles([t for t, _ in found])
    card = labels.card_of(found[0][0], found[0][1][0][1])
    rows = [asdict(r) for panel in panels for r in panel]
    y = labels.upright(labels.over_k(card), card.better)
    return Prepared(rows, lambda: curves(list(zip(titles, panels, strict=True)), "latents that the probe reads (k)", y))


def _heatmap(per_site: Sequence[Table], options: PlotOptions) -> Prepared:
    ranking = next((t.ranking for t in per_site if t.ranking is not None), None)
    if options.metric is None and ranking is None:
        raise SaebenchError("no record scores a metric with a direction; name the metric to show, as task.metric")
    name = options.metric or ("" if ranking is None else f"{ranking.task}.{ranking.metric}")
    found = with_column(per_site, name)
    known = [(t, c, rows) for t, c in found if (rows := heat_rows(t, c))]
    if not known:
        raise SaebenchError(f"the records of {name} hold no values by unit")
    titles = _titles([t for t, *_ in known])
    card = labels.card_of(known[0][0], known[0][1])
    rows = [asdict(r) for *_, panel in known for r in panel]
    panels = [(title, panel) for title, (*_, panel) in zip(titles, known, strict=True)]
    return Prepared(rows, lambda: heat_map(panels, card))


def _training(per_site: Sequence[Table]) -> Prepared:
    known = [(t, rows) for t in per_site if (rows := training_rows(t))]
    if not known:
        raise SaebenchError(
            "no SAE's metadata hold a training curve; saebench-lite train and saebench_lite.train record one"
        )
    titles = _titles([t for t, _ in known])
    sites = [TrainingPanel(title, rows, without_curve(t, rows)) for title, (t, rows) in zip(titles, known, strict=True)]
    return Prepared([asdict(r) for _, panel in known for r in panel], lambda: training_curves(sites))


def _zf(per_site: Sequence[Table]) -> Prepared:
    found = [(title, zf_rows(table)) for title, table in zip(_titles(per_site), per_site, strict=True)]
    panels = [
        ([title, name] if title else [name], rows) for title, subjects in found for name, rows in subjects.items()
    ]
    if not panels:
        raise SaebenchError(f"no record is of the task {AFA}, which keeps norms of tokens; run it with --tasks {AFA}")
    rows = [asdict(r) for _, panel in panels for r in panel]
    return Prepared(rows, lambda: zf(panels))
