"""Draws a heat map: a row a unit, a column a subject, coloured by the difference to the best baseline or by value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from saebench_lite.plots.heat_data import HeatRow
from saebench_lite.plots.labels import along_axis
from saebench_lite.plots.style import COLUMN, literal, new_figure
from saebench_lite.records.metric import Metric
from saebench_lite.records.types import Kind
from saebench_lite.report.numbers import MARKS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DIVERGING, SEQUENTIAL = "PuOr", "cividis"
"Maps that readers with any colour vision can read; purple is better than the baseline."
MISSING = "#D9D9D9"
"Colour of a cell without a value."
CELL, TALL, LOW = 0.17, 0.15, 0.072
"Inches: width of a cell, its height, and that where units are many."
MANY = 40
"Units beyond which cells are low."


def heat_map(panels: Sequence[tuple[str, Sequence[HeatRow]]], card: Metric) -> Figure:
    """A figure of (title, rows of one site) a panel, panels below each other; `card` declares the metric."""
    grids = [(title, *grid(rows)) for title, rows in panels]
    heights = [max(1.2, len(units) * (LOW if len(units) > MANY else TALL)) for _, _, units, _ in grids]
    widest = max(len(subjects) for _, subjects, _, _ in grids)
    longest = max(len(unit) for _, _, units, _ in grids for unit in units)
    names = max(len(line) for _, subjects, _, _ in grids for subject in subjects for line in subject.split("\n"))
    width = max(COLUMN, 0.8 + 0.042 * longest + CELL * widest)
    figure = new_figure(width, sum(heights) + len(heights) * (0.4 + 0.042 * names))
    places = figure.subplots(len(grids), 1, squeeze=False, height_ratios=heights)[:, 0]
    for place, (title, subjects, units, values), (_, rows) in zip(places, grids, panels, strict=True):
        _draw(figure, place, (subjects, units, values), rows[0].reference, card)
        place.set_title(literal(title), loc="left", fontsize=6)
    return figure


def grid(rows: Sequence[HeatRow]) -> tuple[list[str], list[str], np.ndarray]:
    """(labels of subjects, units, what is coloured [units, subjects], NaN where nothing is known).

    A label is a name with its mark, of a control made of an SAE in two lines.
    """
    subjects: dict[str, Kind] = {r.subject: r.kind for r in rows}
    units = dict.fromkeys(r.unit for r in rows)
    column = {name: i for i, name in enumerate(subjects)}
    line = {unit: i for i, unit in enumerate(units)}
    values = np.full((len(units), len(subjects)), np.nan)
    for r in rows:
        shown = r.value if r.reference is None else r.difference
        values[line[r.unit], column[r.subject]] = np.nan if shown is None else shown
    names = [
        "\n".join(literal(part) for part in f"{name}{MARKS[kind]}".split(" of ", 1)) for name, kind in subjects.items()
    ]
    return names, list(units), values


def _draw(
    figure: Figure,
    place: Any,
    cells: tuple[list[str], list[str], np.ndarray],
    against: str | None,
    card: Metric,
) -> None:
    """One site.

    Args:
        figure: takes the scale beside the panel.
        place: axes of matplotlib.
        cells: what `grid` returns.
        against: name of the baseline that values are differences to.
        card: declares the metric.
    """
    import matplotlib

    subjects, units, values = cells
    colours = matplotlib.colormaps[SEQUENTIAL if against is None else DIVERGING]
    colours = colours.reversed() if against is not None and card.better == "lower" else colours
    limit = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
    ends = {} if against is None else {"vmin": -limit, "vmax": limit}
    place.set_facecolor(MISSING)
    mesh = place.pcolormesh(np.ma.masked_invalid(values), cmap=colours, edgecolors="white", linewidth=0.1, **ends)
    place.set_ylim(len(units), 0)
    small = 5 if len(units) > MANY else 6
    place.set_yticks(np.arange(len(units)) + 0.5, list(map(literal, units)), fontsize=small)
    place.set_xticks(np.arange(len(subjects)) + 0.5, subjects, rotation=90, fontsize=5.5, linespacing=0.9)
    place.tick_params(length=0, pad=1)
    for spine in place.spines.values():
        spine.set_visible(False)
    scale = figure.colorbar(mesh, ax=place, location="bottom", aspect=40, pad=0.01, shrink=0.9)
    scale.outline.set_visible(False)
    label = along_axis(card, int(15 * figure.get_figwidth()))
    scale.set_label(label if against is None else f"{label}\nminus that of {literal(against)}")
