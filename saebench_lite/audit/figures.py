"""Figures of an audit as SVG files that are the same bytes for the same records. Needs the extra `plots`."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saebench_lite.audit.grade import BARS, FAILS, Grade, composite_truth
from saebench_lite.audit.roles import SubjectRoles, roles_of
from saebench_lite.progress import logger
from saebench_lite.records.record import Record

COLOURS = {"A": "#1b7837", "B": "#7fbf7b", "C": "#c2a53c", "D": "#e08214", "F": "#b2182b"}
MARKS = "os^Dv<>Pp*"
SHOWN = (("sparse_probing", "average_precision_max"), ("sparse_probing", "auroc_k1_mean"))
"Headline and plain probing, whose points are shown one by one."
STYLE = {
    "svg.hashsalt": "saebench-lite",
    "svg.fonttype": "none",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(graded: Sequence[Grade], records: Sequence[Record], out: Path) -> list[tuple[str, str]]:
    """Writes the figures into `out` and returns (caption, file name) of each; logs so and returns none without
    matplotlib.
    """
    if importlib.util.find_spec("matplotlib") is None:
        logger.warning("figures are left out: they need matplotlib; install it with pip install 'saebench-lite[plots]'")
        return []
    import matplotlib

    roles = roles_of(records)
    drawn = []
    with matplotlib.rc_context(STYLE):  # pyright: ignore[reportArgumentType]  # a plain dict is taken
        for name, caption, figure in (
            ("truth", "Correlation of each metric with the truth, 95 % interval, by grade", _truth(graded)),
            ("points", "Headline and plain probing against the truth, a point an SAE", _points(graded, records, roles)),
            ("power", "Spread between variants of one architecture over noise, against the truth", _power(graded)),
        ):
            if figure is not None:
                (out / f"{name}.svg").parent.mkdir(parents=True, exist_ok=True)
                figure.savefig(out / f"{name}.svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight")
                drawn.append((caption, f"{name}.svg"))
    return drawn


def _new(width: float, height: float, panels: int = 1) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    return figure, figure.subplots(1, panels, squeeze=False)[0]


def _legend(axes: Any, graded: Sequence[Grade]) -> None:
    for letter in sorted({g.grade for g in graded}):
        axes.plot([], [], "o", color=COLOURS[letter], markersize=4, label=letter)
    axes.legend(title="grade", frameon=False)


def _truth(graded: Sequence[Grade]) -> Any:
    """A row a metric, the best on top."""
    rows = sorted((g for g in graded if np.isfinite(g.truth)), key=lambda g: g.truth)
    figure, (axes,) = _new(6.5, 1 + 0.15 * len(rows))
    for place, g in enumerate(rows):
        axes.plot([g.truth_low, g.truth_high], [place, place], color=COLOURS[g.grade], linewidth=1.2)
        axes.plot([g.truth], [place], "o", color=COLOURS[g.grade], markersize=3)
    for bar in (FAILS, BARS["truth"]):
        axes.axvline(bar, color="grey", linewidth=0.6, linestyle=":")
    axes.set_yticks(range(len(rows)), [f"{g.task} {g.metric}" for g in rows], fontsize=6)
    axes.set_ylim(-1, len(rows))
    axes.set_xlabel("Spearman correlation with the truth")
    _legend(axes, rows)
    return figure


def _points(graded: Sequence[Grade], records: Sequence[Record], roles: SubjectRoles) -> Any:
    """Trained SAEs by architecture, oracle and controls; higher is better on both axes."""
    shown = [g for pair in SHOWN for g in graded if (g.task, g.metric) == pair]
    if not shown:
        return None
    truth = dict(zip(roles.judged, composite_truth(records, roles.judged), strict=True))
    rest = sorted(set(roles.judged) - set(roles.trained) - {roles.oracle})
    groups = {**roles.architectures, "oracle": [roles.oracle] if roles.oracle else [], "controls": rest}
    figure, row = _new(3.4 * len(shown), 3.2, len(shown))
    for axes, g in zip(row, shown, strict=True):
        for i, (label, names) in enumerate(groups.items()):
            names = [n for n in names if n in g.values]
            colour = {"oracle": "black", "controls": "grey"}.get(label, f"C{i}")
            axes.plot(
                [truth[n] for n in names],
                [g.values[n] for n in names],
                MARKS[i % len(MARKS)],
                color=colour,
                markersize=4,
                label=label,
            )
        axes.set_title(f"{g.task} {g.metric}: {g.truth:.2f} [{g.truth_low:.2f}, {g.truth_high:.2f}]", fontsize=7)
        axes.set_xlabel("truth (mean rank)")
    row[0].set_ylabel("score")
    row[-1].legend(frameon=False, fontsize=6, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _power(graded: Sequence[Grade]) -> Any:
    """A point a metric; the corner at the top right is what a benchmark wants."""
    rows = [g for g in graded if g.power and np.isfinite(g.truth)]
    if not rows:
        return None
    figure, (axes,) = _new(5.5, 4)
    for g in rows:
        axes.plot([g.truth], [g.power], "o", color=COLOURS[g.grade], markersize=4)
    for task in sorted({g.task for g in rows}):
        best = max((g for g in rows if g.task == task), key=lambda g: g.truth)
        axes.annotate(
            f"{task} {best.metric}",
            (best.truth, best.power),
            fontsize=6,
            xytext=(4, 3),
            textcoords="offset points",
            ha="right" if best.truth > FAILS else "left",
        )
    axes.set_yscale("log")
    axes.axhline(BARS["power"], color="grey", linewidth=0.6, linestyle=":")
    axes.axvline(BARS["truth"], color="grey", linewidth=0.6, linestyle=":")
    axes.set_xlabel("Spearman correlation with the truth")
    axes.set_ylabel("spread between variants over noise")
    _legend(axes, rows)
    return figure
