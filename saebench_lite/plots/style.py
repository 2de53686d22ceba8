"""Looks that all figures share: colours, markers by architecture, sizes, and foreign names as plain text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from saebench_lite.plots.lines import width_of, wrapped
from saebench_lite.report.markup import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OKABE_ITO = {
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "bluish green": "#009E73",
    "orange": "#E69F00",
    "reddish purple": "#CC79A7",
    "sky blue": "#56B4E9",
    "yellow": "#F0E442",
}
"Colours that readers with any colour vision tell apart (Okabe and Ito 2008, Color Universal Design), without black."
MARKERS = "os^DvPX<>p*hd"
"As many as are coprime to the colours, so that no pair of both comes twice before 91."
ARCHITECTURES = ("relu", "topk", "batchtopk", "jumprelu", "gated", "matryoshka", "matching_pursuit", "top_afa")
"These look the same in every figure, whichever others it shows."
REFERENCE = "#666666"
"Of baselines and controls."
COLUMN, DOUBLE = 3.35, 6.9
"Inches: one column and both of a page."
LEGEND = 6.0
"Points: letters of a legend."
BESIDE = 0.45
"Inches that a column of a legend takes beside its longest label."
ABOVE = 0.2
"Inches between panels and a legend."
STYLE: dict[str, object] = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "sans-serif",
    "font.size": 7,
    "axes.titlesize": 7,
    "legend.fontsize": LEGEND,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "saebench-lite",
    "text.parse_math": True,
    "text.usetex": False,
}
"Settings of matplotlib: text stays text in SVG and PDF, and the same figure gives the same bytes."


class Entry(NamedTuple):
    """What a legend says of a line or a marker; entries stand in the order of their fields."""

    rank: int
    "SAEs 0, marks that explain 1, references 2."
    group: str
    l0: float
    label: str


class Look(NamedTuple):
    """How a group of SAEs is drawn."""

    colour: str
    marker: str


def looks(groups: Iterable[str]) -> dict[str, Look]:
    """Colour and marker of each group: known architectures first and always alike, then the others by name."""
    found = set(groups)
    colours = list(OKABE_ITO.values())
    order = [*ARCHITECTURES, *sorted(found.difference(ARCHITECTURES))]
    pairs = [Look(colours[i % len(colours)], MARKERS[i % len(MARKERS)]) for i in range(len(order))]
    return {group: look for group, look in zip(order, pairs, strict=True) if group in found}


def literal(text: str) -> str:
    """A foreign name as matplotlib shows it letter by letter: in one line, and no mathematics begins at a dollar."""
    return one_line(text).replace("$", r"\$")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches that makes room for what lies outside of its axes."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def add_legend(figure: Figure, entries: Mapping[Entry, object]) -> None:
    """A legend of {entry: artist} below all panels in as many columns as fit; the figure grows by its height.

    A label longer than the figure is in several lines.
    """
    if not entries:
        return
    width, height = figure.get_size_inches()
    order = sorted(entries)
    lines = [wrapped(one_line(e.label), width - BESIDE, LEGEND) for e in order]
    longest = max(width_of(line, LEGEND) for of in lines for line in of)
    legend = figure.legend(
        handles=[entries[e] for e in order],
        labels=["\n".join(map(literal, of)) for of in lines],
        loc="outside lower center",
        ncols=max(1, min(len(order), int(width // (longest + BESIDE)))),
        frameon=False,
        handlelength=2.6,
        columnspacing=1.2,
        labelspacing=0.3,
    )
    figure.set_size_inches(width, height + legend.get_window_extent().height / figure.dpi + ABOVE)
