"""Figures of an audit as SVG files that are the same bytes for the same rows. Needs the extra `plots`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saebench_lite.audit.judge import BAR, HEADLINE, Panel, Row, on_grid
from saebench_lite.audit.page import shown
from saebench_lite.errors import installed
from saebench_lite.plots.style import OKABE_ITO, REFERENCE, STYLE, literal, looks, new_figure
from saebench_lite.progress import logger

YES, NO = OKABE_ITO["bluish green"], OKABE_ITO["vermilion"]
COLOURS = {"follows": YES, "yes": YES, "open": REFERENCE, "does not": NO, "no": NO}
POINTS = (HEADLINE, ("sparse_probing", "accuracy_k5_mean"))
"Metrics whose SAEs are shown one by one: the headline, and SAEBench's."


def draw(rows: Sequence[Row], panel: Panel, out: Path) -> list[tuple[str, str]]:
    """Writes the figures into `out` and returns (caption, file name) of each; logs so and returns none without
    matplotlib.
    """
    if not installed("matplotlib"):
        logger.warning("figures are left out: they need matplotlib; install it with pip install 'saebench-lite[plots]'")
        return []
    import matplotlib

    drawn = []
    with matplotlib.rc_context(STYLE):  # pyright: ignore[reportArgumentType]  # a plain dict is taken
        for name, caption, figure in (
            ("within", "Correlation with the truth within L0 levels, 95 % interval over architectures", _within(rows)),
            ("points", "Score against the composite truth, a point an SAE, a line an L0 level", _points(rows, panel)),
        ):
            if figure is not None:
                (out / f"{name}.svg").parent.mkdir(parents=True, exist_ok=True)
                figure.savefig(out / f"{name}.svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight")
                drawn.append((caption, f"{name}.svg"))
    return drawn


def _within(rows: Sequence[Row]) -> Any:
    """A row a metric, the best on top; those that do not claim recovery are hollow."""
    known = sorted((r for r in shown(rows) if np.isfinite(r.within.value)), key=lambda r: r.within.value)
    if not known:
        return None
    figure = new_figure(6.5, 1 + 0.16 * len(known))
    axes = figure.subplots()
    for place, r in enumerate(known):
        colour = COLOURS[r.verdict or r.evidence or "open"]
        axes.plot([r.within.low, r.within.high], [place, place], color=colour, linewidth=1.2)
        fill = colour if r.verdict else "white"
        axes.plot([r.within.value], [place], "o", color=colour, markerfacecolor=fill, markersize=4)
    axes.axvline(BAR, color="grey", linewidth=0.6, linestyle=":")
    axes.set_yticks(range(len(known)), [r.name for r in known], fontsize=6)
    axes.set_ylim(-1, len(known))
    axes.set_xlabel("Spearman correlation within L0; hollow: does not claim recovery")
    return figure


def _points(rows: Sequence[Row], panel: Panel) -> Any:
    """Trained SAEs by architecture (mark) and L0 level (line and colour)."""
    known = [r for pair in POINTS for r in rows if (r.task, r.metric) == pair]
    if not known:
        return None
    figure = new_figure(3.4 * len(known), 3.2)
    places = figure.subplots(1, len(known), squeeze=False)[0]
    look = looks(panel.roles.grid)
    colours = [list(OKABE_ITO.values())[i % len(OKABE_ITO)] for i in range(len(panel.roles.levels))]
    for axes, r in zip(places, known, strict=True):
        score = on_grid(panel.roles, r.values)
        for i, level in enumerate(panel.roles.levels):
            order = panel.composite[i].argsort(kind="stable")
            axes.plot(panel.composite[i, order], score[i, order], color=colours[i], linewidth=0.6, label=f"L0 {level}")
        for j, architecture in enumerate(panel.roles.grid):
            mark = look[architecture].marker
            axes.plot([], [], mark, color="grey", markersize=4, label=literal(architecture))
            for i in range(len(panel.roles.levels)):
                axes.plot([panel.composite[i, j]], [score[i, j]], mark, color=colours[i], markersize=4)
        axes.set_title(r.name, fontsize=7)
        axes.set_xlabel("composite truth (mean rank)")
    places[0].set_ylabel("score")
    places[-1].legend(frameon=False, fontsize=6, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
