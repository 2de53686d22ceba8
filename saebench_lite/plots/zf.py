"""Draws norms of codes over norms of activations, a point a token, a panel a subject (ZF plot, arXiv:2503.24277)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from saebench_lite.plots.style import DOUBLE, REFERENCE, Entry, add_legend, literal, looks, new_figure
from saebench_lite.plots.zf_data import ZFRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BANDS = {0.5: 0.12, 0.25: 0.3}
"eps (m - 1) whose limits on the norm of a code are drawn -> opacity; at 1 the upper limit is infinite."
ACROSS = 3
"Panels in a line."
DIAGONAL = Entry(1, "diagonal", 0.0, "orthogonal directions: norms are equal")


def zf(panels: Sequence[tuple[Sequence[str], Sequence[ZFRow]]]) -> Figure:
    """A figure of (lines of a title, tokens of one subject) a panel.

    Args:
        panels: what is drawn.
    """
    across = min(ACROSS, len(panels))
    down = -(-len(panels) // across)
    figure = new_figure(DOUBLE * across / ACROSS, 2.1 * down)
    places = figure.subplots(down, across, squeeze=False).ravel()
    look = looks(r.group for _, rows in panels for r in rows)
    legend: dict[Entry, object] = {}
    for place, (title, rows) in zip(places, panels, strict=False):
        _draw(place, rows, look[rows[0].group].colour, legend)
        place.set_title("\n".join(map(literal, title)), loc="left", fontsize=6)
        place.set_xlabel("norm of activation")
        place.set_ylabel("norm of code")
    for place in places[len(panels) :]:
        place.remove()
    add_legend(figure, legend)
    return figure


def limits(norm: float, band: float) -> tuple[float, float]:
    """Least and largest norm of a code that eps (m - 1) = `band` < 1 allows an activation of norm `norm`."""
    return norm / math.sqrt(1 + band), norm / math.sqrt(1 - band)


def _draw(place: Any, rows: Sequence[ZFRow], colour: str, legend: dict[Entry, object]) -> None:
    """The tokens of one subject, the diagonal and the bands.

    Args:
        place: axes of matplotlib.
        rows: tokens.
        colour: of the points.
        legend: takes {entry: artist}.
    """
    most = max(max(r.norm_of_activation, r.norm_of_code) for r in rows) * 1.05
    for rank, band in enumerate(BANDS):
        low, high = limits(most, band)
        ends = {"color": REFERENCE, "alpha": BANDS[band], "linewidth": 0, "zorder": rank}
        artist = place.fill_between([0, most], [0, low], [0, high], **ends)
        legend[Entry(2, "band", band, f"eps (m - 1) up to {band:g}")] = artist
    legend[DIAGONAL] = place.plot([0, most], [0, most], color="black", linewidth=0.6, zorder=3)[0]
    x, y = [r.norm_of_activation for r in rows], [r.norm_of_code for r in rows]
    place.plot(x, y, linestyle="none", marker=".", markersize=2, color=colour, alpha=0.6, zorder=4)
    place.set_xlim(0, most)
    place.set_ylim(0, most)
    place.set_aspect("equal")
