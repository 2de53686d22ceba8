"""Room for texts: labels in lines that end within the figure, and figures that grow with what stands around panels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from saebench_lite.plots.lines import wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROUNDS = 3
"Lines of a label take room from its panel, whose other labels may then need more lines."
TITLE = 6
"Points."
LINE = 1.2
"Height of a line over the size of its letters."
GAP = 0.05
"Inches between a title and what is right of it."


def grow(figure: Figure, heights: Sequence[float], width: float = 0.0) -> None:
    """Resizes a laid-out figure until its panels have the heights that they should have, and lays it out again.

    Args:
        figure: what is resized.
        heights: of its panels, in inches.
        width: that each panel should have at least; panels stand below each other then.
    """
    panels = _panels(figure)
    lacking: dict[int, float] = {}
    for axes, height in zip(panels, heights, strict=True):
        row, less = axes.get_subplotspec().rowspan.start, height - _size(axes)[1]
        lacking[row] = max(lacking.get(row, less), less)
    wider = max((width - _size(axes)[0] for axes in panels), default=0.0)
    now = figure.get_size_inches()
    figure.set_size_inches(now[0] + max(0.0, wider), max(1.0, now[1] + sum(lacking.values())))
    figure.draw_without_rendering()


def fit(figure: Figure) -> None:
    """Lays a figure out, with titles and labels in lines no longer than their room; it grows by those lines."""
    titles = [axes.set_title(axes.get_title(loc="left"), loc="left", fontsize=TITLE) for axes in figure.axes]
    whole = {text: text.get_text() for axes in figure.axes for text in (axes.xaxis.label, axes.yaxis.label)}
    whole |= {title: title.get_text() for title in titles}
    for title in titles:  # the layout would make room for a long one by a narrower panel
        title.set_visible(False)
    figure.draw_without_rendering()
    heights = [_size(axes)[1] for axes in _panels(figure)]
    for title in titles:
        title.set_visible(True)
    for at in range(ROUNDS):
        added = [
            _break(text, whole[text], room)
            for axes, title in zip(figure.axes, titles, strict=True)
            for text, room in _rooms(axes, title).items()
        ]
        if at and not any(added):
            break
        figure.set_size_inches(figure.get_figwidth(), figure.get_figheight() + max(0.0, sum(added)))
        figure.draw_without_rendering()
        grow(figure, heights)


def _rooms(axes: Any, title: Any) -> dict[Any, float]:
    """Inches that each text of a panel may be long."""
    width, height = _size(axes)
    return {title: _room(axes), axes.xaxis.label: width, axes.yaxis.label: height}


def _break(text: Any, whole: str, room: float) -> float:
    """Puts a text in as many lines as it needs; inches that it is higher than before.

    Args:
        text: of matplotlib.
        whole: what it says, in lines that stay apart.
        room: inches.
    """
    before, size = text.get_text(), text.get_fontsize()
    text.set_text("\n".join(wrapped(whole.replace(r"\$", "$"), room, size)).replace("$", r"\$"))
    return (text.get_text().count("\n") - before.count("\n")) * LINE * size / 72


def _room(axes: Any) -> float:
    """Inches from the left edge of a panel to the next one that has a title, or to the edge of the figure."""
    figure, box = axes.figure, axes.get_window_extent()
    titled = [other.get_window_extent() for other in figure.axes if other.get_title(loc="left")]
    ends = [o.x0 for o in titled if o.x0 > box.x1 and o.y0 < box.y1 and o.y1 > box.y0]
    return (min(ends, default=figure.bbox.x1) - box.x0) / figure.dpi - GAP


def _size(axes: Any) -> tuple[float, float]:
    """Inches across and up of a panel as it was last laid out, without what stands around it."""
    box = axes.get_window_extent()
    return box.width / axes.figure.dpi, box.height / axes.figure.dpi


def _panels(figure: Figure) -> list[Any]:
    """Axes of the figure's grid, without the scales of colours beside them."""
    return [axes for axes in figure.axes if axes.get_subplotspec() is not None]
