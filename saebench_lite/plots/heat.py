"""Draws a heat map: a row a unit, a column a subject, coloured by the difference to the best baseline or by value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from saebench_lite.plots.fit import grow
from saebench_lite.plots.heat_data import HeatRow
from saebench_lite.plots.labels import along_axis
from saebench_lite.plots.lines import width_of, wrapped
from saebench_lite.plots.style import COLUMN, literal, new_figure
from saebench_lite.records.metric import Metric
from saebench_lite.records.types import Kind
from saebench_lite.report.markup import one_line
from saebench_lite.report.numbers import MARKS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DIVERGING, SEQUENTIAL = "PuOr", "cividis"
"Maps that readers with any colour vision can read; purple is better than the baseline."
MISSING = "#D9D9D9"
"Colour of a cell without a value."
CELL, TALL, LOW = 0.17, 0.15, 0.075
"Inches: width of a cell, its height, and that where units are many."
MANY = 40
"Units beyond which cells are low."
LETTERS, SPACING = 5.5, 1.2
"Of subjects' names: points, and lines over letters."
LONG = 3.0
"Inches of a subject's name beyond which it is in several lines."
LEAST = 2.0
"Inches of a panel's width, whose title and scale stand in its width."


def heat_map(panels: Sequence[tuple[str, Sequence[HeatRow]]], card: Metric) -> Figure:
    """A figure of (title, rows of one site) a panel, panels below each other; `card` declares the metric.

    It is as large as names and cells take: a cell is as wide as the lines of its subject's name are high.
    """
    grids = [(title, *grid(rows)) for title, rows in panels]
    heights = [max(1.2, len(units) * (LOW if len(units) > MANY else TALL)) for _, _, units, _ in grids]
    lines = max(subject.count("\n") + 1 for _, subjects, _, _ in grids for subject in subjects)
    cell = max(CELL, (lines * SPACING + 0.3) * LETTERS / 72)
    width = max(LEAST, cell * max(len(subjects) for _, subjects, _, _ in grids))
    beside = max(width_of(one_line(unit), LETTERS) for _, _, units, _ in grids for unit in units)
    figure = new_figure(max(COLUMN, width + beside), sum(heights) + len(heights) * (1 + LONG))
    places = figure.subplots(len(grids), 1, squeeze=False, height_ratios=heights)[:, 0]
    for place, (_, subjects, units, values), (_, rows) in zip(places, grids, panels, strict=True):
        _draw(figure, place, (subjects, units, values), rows[0].reference, card)
    figure.draw_without_rendering()
    grow(figure, heights, width)
    for place, (title, *_) in zip(places, grids, strict=True):
        place.set_title(literal(title), loc="left", fontsize=6)
    return figure


def grid(rows: Sequence[HeatRow]) -> tuple[list[str], list[str], np.ndarray]:
    """(labels of subjects, units, what is coloured [units, subjects], NaN where nothing is known).

    A label is a name with its mark, of a control made of an SAE in two lines; long ones are in more.
    """
    subjects: dict[str, Kind] = {r.subject: r.kind for r in rows}
    units = dict.fromkeys(r.unit for r in rows)
    column = {name: i for i, name in enumerate(subjects)}
    line = {unit: i for i, unit in enumerate(units)}
    values = np.full((len(units), len(subjects)), np.nan)
    for r in rows:
        shown = r.value if r.reference is None else r.difference
        values[line[r.unit], column[r.subject]] = np.nan if shown is None else shown
    names = ["\n".join(map(literal, _lines(f"{name}{MARKS[kind]}"))) for name, kind in subjects.items()]
    return names, list(units), values


def _lines(name: str) -> list[str]:
    """A name with its mark in lines."""
    return [line for part in name.split(" of ", 1) for line in wrapped(one_line(part), LONG, LETTERS)]


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
    place.set_yticks(np.arange(len(units)) + 0.5, list(map(literal, units)), fontsize=small, linespacing=1.05)
    upright = {"rotation": 90, "fontsize": LETTERS, "linespacing": SPACING}
    place.set_xticks(np.arange(len(subjects)) + 0.5, subjects, **upright)
    place.tick_params(length=0, pad=1)
    for spine in place.spines.values():
        spine.set_visible(False)
    scale = figure.colorbar(mesh, ax=place, location="bottom", aspect=40, pad=0.01, shrink=0.9)
    scale.outline.set_visible(False)
    label = along_axis(card)
    scale.set_label(label if against is None else f"{label}\nminus that of {literal(against)}")
