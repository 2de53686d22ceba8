"""The command that draws: plot."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from saebench_lite.cli.terminal import records_of


def plot(
    kind: Annotated[
        Literal["pareto", "probing-curve", "heatmap", "training", "truth", "zf"],
        typer.Argument(
            help="A score over L0; probes over k; subject by unit; training curves; a score over the truth of a world;"
            " norms of codes."
        ),
    ],
    folder: Annotated[Path, typer.Argument(help="A results folder.")] = Path("saebench-lite-results"),
    out: Annotated[Path | None, typer.Option(help="File that ends in .svg, .pdf or .png; default: KIND.svg.")] = None,
    y: Annotated[str | None, typer.Option(help="pareto, truth: metric of the vertical axis, as task.metric.")] = None,
    x: Annotated[str | None, typer.Option(help="pareto, truth: of the horizontal one; pareto: L0 by default.")] = None,
    metric: Annotated[
        str | None, typer.Option(help="heatmap: task.metric; probing-curve: auroc, accuracy, f1.")
    ] = None,
    pooling: Annotated[str | None, typer.Option(help="probing-curve: mean (default), max or last.")] = None,
    site: Annotated[str | None, typer.Option(help="Part of the title of the one site to show; default: all.")] = None,
    far: Annotated[bool, typer.Option("--far", help="Draw baselines and controls beyond the SAEs' scale too.")] = False,
) -> None:
    """A figure for a paper from the records of a folder, and its data as CSV beside it. Needs the extra plots."""
    from saebench_lite.plots.plot import PlotOptions, save_plot

    options = PlotOptions(y=y, x=x, metric=metric, pooling=pooling, site=site, far=far)
    drawn, table = save_plot(records_of(folder), kind, Path(f"{kind}.svg") if out is None else out, options)
    typer.echo(f"wrote {drawn} and {table}")
