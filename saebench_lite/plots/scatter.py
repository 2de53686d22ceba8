"""Draws a scatter: SAEs as points with intervals, the front as a line, references as points, lines and bands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from saebench_lite.plots.scatter_data import ScatterRow
from saebench_lite.plots.style import COLUMN, DOUBLE, REFERENCE, Entry, Look, add_legend, literal, looks, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINES = ("--", ":", "-.", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))
"Of references without an x, one after the other."
HOLLOW = "sDo^vPX<>p*hd"
"Markers of references with an x, open and grey."
FRONT = Entry(1, "", 0.0, "not dominated, by value")
DOMINATED = Entry(1, "", 1.0, "dominated (tests at 3 %)")


class AxisLabels(NamedTuple):
    """Labels of both axes, and whether the horizontal one is logarithmic."""

    x: str
    y: str
    log_x: bool


def scatter(panels: Sequence[tuple[str, Sequence[ScatterRow]]], labels: AxisLabels) -> Figure:
    """A figure of (title, rows of one site) a panel, two panels in a line."""
    across = min(2, len(panels))
    down = -(-len(panels) // across)
    figure = new_figure(COLUMN if across == 1 else DOUBLE, 2.4 * down)
    places = figure.subplots(down, across, squeeze=False).ravel()
    of_group = _styles([r for _, rows in panels for r in rows])
    legend: dict[Entry, object] = {}
    for place, (title, rows) in zip(places, panels, strict=False):
        _draw(place, rows, of_group, legend)
        heads = [literal(title), *_left_out(rows)]
        place.set_title("\n".join(head for head in heads if head), loc="left", fontsize=6)
        _scale(place, labels)
    for place in places[len(panels) :]:
        place.remove()
    add_legend(figure, legend)
    return figure


def _styles(rows: Sequence[ScatterRow]) -> dict[str, tuple[Look, object]]:
    """Look and line style of each group."""
    found: dict[str, tuple[Look, object]] = {
        group: (look, "-") for group, look in looks(r.group for r in rows if r.kind == "sae").items()
    }
    for i, group in enumerate(sorted({r.group for r in rows if r.kind != "sae"})):
        found[f"{group} "] = (Look(REFERENCE, HOLLOW[i % len(HOLLOW)]), LINES[i % len(LINES)])
    return found


def _draw(
    place: Any, rows: Sequence[ScatterRow], of_group: Mapping[str, tuple[Look, object]], legend: dict[Entry, object]
) -> None:
    """The rows of one site.

    Args:
        place: axes of matplotlib.
        rows: of the site.
        of_group: look and line style of each group; a blank ends the names of those that are no SAEs.
        legend: takes {entry: artist}.
    """
    from matplotlib.lines import Line2D

    front = sorted((r.x, r.y) for r in rows if r.on_front and r.x is not None)
    if len(front) > 1:
        x, y = zip(*front, strict=True)
        legend[FRONT] = place.plot(x, y, "-", color="black", linewidth=0.6, zorder=1)[0]
    for r in sorted(rows, key=lambda r: (r.kind == "sae", r.group)):
        look, dash = of_group[r.group if r.kind == "sae" else f"{r.group} "]
        entry = Entry(0, r.group, 0.0, r.group) if r.kind == "sae" else Entry(2, r.kind, 0.0, f"{r.group} ({r.kind})")
        fill = "white" if r.dominated or r.kind != "sae" else look.colour
        if r.role == "point":
            _point(place, r, look, fill)
            shown = look.colour if r.kind == "sae" else "white"
            legend[entry] = Line2D(
                [], [], color=look.colour, marker=look.marker, markersize=4, markerfacecolor=shown, linestyle=""
            )
        elif r.role == "line":
            legend[entry] = place.axhline(r.y, color=REFERENCE, linewidth=0.9, linestyle=dash, zorder=0)
            if r.y_low is not None and r.y_high is not None:
                place.axhspan(r.y_low, r.y_high, color=REFERENCE, alpha=0.12, linewidth=0, zorder=0)
    if any(r.dominated for r in rows):
        legend[DOMINATED] = Line2D(
            [], [], color="black", marker="o", markersize=4, markerfacecolor="white", linestyle=""
        )


def _point(place: Any, r: ScatterRow, look: Look, fill: str) -> None:
    """A point with whiskers where there are intervals.

    Args:
        place: axes of matplotlib.
        r: what is drawn.
        look: colour and marker.
        fill: colour inside the marker.
    """
    place.errorbar(
        [r.x],
        [r.y],
        xerr=whiskers(r.x, r.x_low, r.x_high),
        yerr=whiskers(r.y, r.y_low, r.y_high),
        fmt=look.marker,
        color=look.colour,
        markerfacecolor=fill,
        markersize=4,
        markeredgewidth=0.8,
        elinewidth=0.7,
        zorder=3 if r.kind == "sae" else 2,
    )


def whiskers(value: float | None, low: float | None, high: float | None) -> list[list[float]] | None:
    """Lengths of an interval below and above a value, as matplotlib takes them; None without an interval.

    An end on the wrong side of the value has length 0.
    """
    if value is None or low is None or high is None:
        return None
    return [[max(value - low, 0.0)], [max(high - value, 0.0)]]


def _scale(place: Any, labels: AxisLabels) -> None:
    """Names the axes of a panel; a logarithmic one has plain numbers."""
    place.set_xlabel(labels.x)
    place.set_ylabel(labels.y)
    if labels.log_x:
        from saebench_lite.plots.ticks import log_x

        log_x(place)


def _left_out(rows: Sequence[ScatterRow]) -> list[str]:
    """What is not drawn, in lines."""
    far = Counter(r.group for r in rows if r.role == "beyond the scale")
    unknown = sum(r.role == "no x" for r in rows)
    names = ", ".join(literal(group) + (f" ({n})" if n > 1 else "") for group, n in sorted(far.items()))
    parts = [f"beyond the scale: {names}"] if far else []
    return [*parts, f"{unknown} SAEs without a value of x are left out"] if unknown else parts
