"""Draws training curves: three panels a site, a line an SAE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from saebench_lite.plots.curve import NAMED, curve_entry, curve_styles
from saebench_lite.plots.style import DOUBLE, Entry, add_legend, literal, new_figure
from saebench_lite.plots.training_data import TrainingRow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANELS = (
    ("explained_variance", "explained variance of a batch ↑"),
    ("batch_l0", "active latents per token (L0)"),
    ("dead_fraction", "share of latents that have\nnot fired lately ↓"),
)
"Figures of a row, and the label of each."


class TrainingPanel(NamedTuple):
    """What is drawn of one site."""

    title: str
    rows: Sequence[TrainingRow]
    left_out: int
    "SAEs without a curve."


def training_curves(sites: Sequence[TrainingPanel]) -> Figure:
    """A figure with a line of three panels for each site, over the steps of training."""
    figure = new_figure(DOUBLE, 2.0 * len(sites))
    lines = figure.subplots(len(sites), len(PANELS), squeeze=False)
    styles = curve_styles([r for site in sites for r in site.rows])
    legend: dict[Entry, object] = {}
    for places, site in zip(lines, sites, strict=True):
        _draw(places, site.rows, styles, legend)
        left_out = f"SAEs without a training curve: {site.left_out}, left out" if site.left_out else ""
        places[0].set_title("\n".join(filter(None, (literal(site.title), left_out))), loc="left", fontsize=6)
    add_legend(figure, legend)
    return figure


def _draw(
    places: Sequence[Any],
    rows: Sequence[TrainingRow],
    styles: Mapping[str, dict[str, Any]],
    legend: dict[Entry, object],
) -> None:
    """The rows of one site.

    Args:
        places: axes of matplotlib, one a figure.
        rows: of the site.
        styles: of each subject.
        legend: takes {entry: artist}.
    """
    by_subject: dict[str, list[TrainingRow]] = {}
    for r in rows:
        by_subject.setdefault(r.subject, []).append(r)
    named = sum(of[0].kind == "sae" for of in by_subject.values()) <= NAMED
    for place, (figure, label) in zip(places, PANELS, strict=True):
        for name, of in by_subject.items():
            known = [(r.step, value) for r in of if (value := getattr(r, figure)) is not None]
            plain = {**styles[name], "marker": ""}
            drawn = place.plot([s for s, _ in known], [v for _, v in known], **plain)[0]
            legend[curve_entry(of[0], named=named)] = drawn
        if figure != "explained_variance":
            place.set_ylim(bottom=0)
        place.set_xlabel("training step")
        place.set_ylabel(label)
