"""Draws a probe's score over the number of latents that it reads: a line an SAE, lines and a band of references."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from saebench_lite.plots.curve_data import CurveRow
from saebench_lite.plots.scatter import HOLLOW, LINES, whiskers
from saebench_lite.plots.style import COLUMN, DOUBLE, REFERENCE, Entry, add_legend, literal, looks, new_figure
from saebench_lite.plots.training_data import TrainingRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DASHES = ("-", "--", ":", "-.")
"Of SAEs of one architecture, by L0."
SHIFT = 0.06
"Log width over which the points of one k are spread, so that their whiskers do not hide each other."
BAND = Entry(2, "control", 0.0, "random dictionaries (range)")
NAMED = 16
"SAEs up to which each has a line in the legend; of more it has the architectures."


def curves(panels: Sequence[tuple[str, Sequence[CurveRow]]], x: str, y: str) -> Figure:
    """A figure of (title, rows of one site) a panel, two panels in a line.

    Args:
        panels: what is drawn.
        x: label of the horizontal axis.
        y: label of the vertical axis.
    """
    from saebench_lite.plots.ticks import log_x

    across = min(2, len(panels))
    down = -(-len(panels) // across)
    figure = new_figure(COLUMN if across == 1 else DOUBLE, 2.4 * down)
    places = figure.subplots(down, across, squeeze=False).ravel()
    lines = curve_styles([r for _, rows in panels for r in rows])
    legend: dict[Entry, object] = {}
    for place, (title, rows) in zip(places, panels, strict=False):
        _draw(place, rows, lines, legend)
        place.set_title(literal(title), loc="left", fontsize=6)
        log_x(place, sorted({r.k for r in rows}))
        place.set_xlabel(x)
        place.set_ylabel(y)
    for place in places[len(panels) :]:
        place.remove()
    add_legend(figure, legend)
    return figure


def curve_styles(rows: Sequence[CurveRow | TrainingRow]) -> dict[str, dict[str, Any]]:  # Any: keywords of matplotlib
    """Colour, marker and dashes of each subject; those of one architecture differ in dashes, by L0 and name."""
    look = looks(r.group for r in rows if r.kind == "sae")
    out: dict[str, dict[str, Any]] = {}
    used: dict[str, int] = {}
    for r in sorted({r.subject: r for r in rows}.values(), key=lambda r: (r.l0 or 0.0, r.subject)):
        name, kind, alike = r.subject, r.kind, r.group if r.kind == "sae" else f"{r.kind} "
        i = used[alike] = used.get(alike, -1) + 1
        if kind == "sae":
            own = {"color": look[r.group].colour, "marker": look[r.group].marker, "linestyle": DASHES[i % len(DASHES)]}
            out[name] = own | {"markersize": 3, "linewidth": 0.9}
        elif kind == "dictionary baseline":
            out[name] = {"color": REFERENCE, "marker": HOLLOW[i % len(HOLLOW)], "markerfacecolor": "white"}
            out[name] |= {"markersize": 3, "linewidth": 0.7}
        else:
            dash = LINES[i % len(LINES)]
            out[name] = {"color": "black" if kind == "baseline" else REFERENCE, "linestyle": dash, "linewidth": 0.9}
    return out


def _draw(
    place: Any, rows: Sequence[CurveRow], styles: Mapping[str, dict[str, Any]], legend: dict[Entry, object]
) -> None:
    """The rows of one site.

    Args:
        place: axes of matplotlib.
        rows: of the site.
        styles: of each subject.
        legend: takes {entry: artist}.
    """
    by_subject: dict[str, list[CurveRow]] = {}
    for r in rows:
        by_subject.setdefault(r.subject, []).append(r)
    saes = [name for name, of in by_subject.items() if of[0].kind == "sae"]
    drawn = [name for name, of in by_subject.items() if of[0].role == "curve"]
    for at, name in enumerate(drawn):
        of = by_subject[name]
        shift = (1 + SHIFT) ** (2 * at / max(1, len(drawn) - 1) - 1)
        line = place.plot([r.k * shift for r in of], [r.value for r in of], zorder=3, **styles[name])[0]
        for r in of:
            if (ends := whiskers(r.value, r.low, r.high)) is not None:
                place.errorbar(
                    [r.k * shift], [r.value], yerr=ends, fmt="none", ecolor=styles[name]["color"], elinewidth=0.5
                )
        legend[curve_entry(of[0], named=len(saes) <= NAMED)] = line
    for name, of in by_subject.items():
        if of[0].role == "line":
            ks, values = [r.k for r in of], [r.value for r in of]
            legend[curve_entry(of[0])] = place.plot(ks, values, zorder=2, **styles[name])[0]
            known = [r for r in of if r.low is not None and r.high is not None]
            if len(known) == len(of):
                color = styles[name]["color"]
                place.fill_between(ks, [r.low for r in of], [r.high for r in of], color=color, alpha=0.08, linewidth=0)
    _band(place, [r for r in rows if r.role == "band"], legend)


def curve_entry(row: CurveRow | TrainingRow, named: bool = True) -> Entry:
    """What the legend says of a subject: its name, or of an SAE that is not `named` its architecture."""
    if row.kind != "sae":
        return Entry(2, row.kind, 0.0, f"{row.subject} ({row.kind})")
    return Entry(0, row.group, row.l0 or 0.0, row.subject) if named else Entry(0, row.group, 0.0, row.group)


def _band(place: Any, rows: Sequence[CurveRow], legend: dict[Entry, object]) -> None:
    """The range of random dictionaries with their intervals at each k.

    Args:
        place: axes of matplotlib.
        rows: of random dictionaries.
        legend: takes {entry: artist}.
    """
    ks = sorted({r.k for r in rows})
    if not ks:
        return
    low = [min(v for r in rows if r.k == k for v in (r.value, r.low) if v is not None) for k in ks]
    high = [max(v for r in rows if r.k == k for v in (r.value, r.high) if v is not None) for k in ks]
    legend[BAND] = place.fill_between(ks, low, high, color=REFERENCE, alpha=0.25, linewidth=0, zorder=0)
