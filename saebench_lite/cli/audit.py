"""`audit`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saebench_lite.cli.terminal import Plugins, following, interruptible, plug


def audit(
    world: Annotated[str, typer.Option(help="small, tiny, standard-16k, NAME-SEED or secret-SEED.")] = "small",
    out: Annotated[Path, typer.Option(help="Folder for SAEs, records, grades.json, audit.md and its figures.")] = Path(
        "saebench-lite-audit"
    ),
    steps: Annotated[int, typer.Option(help="Training steps of each SAE.")] = 1500,
    seeds: Annotated[int, typer.Option(help="Repeats of every evaluation that draws random numbers.")] = 3,
    limit: Annotated[int | None, typer.Option(help="Concepts at most.")] = None,
    jobs: Annotated[int, typer.Option(help="Processes that train and score, one thread each.")] = 2,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    doses: Annotated[
        bool,
        typer.Option("--doses", help="Only try each metric on planted faults: doses.json and doses.md, no training."),
    ] = False,
    plugin: Plugins = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Grade the suite's own metrics on a world whose true features are known."""
    plug(plugin)
    from saebench_lite.audit import run as audits

    if doses:
        from saebench_lite.audit import doses as planted

        with interruptible(), following(quiet) as progress:
            planted.run(world, out, limit=limit or planted.CONCEPTS, jobs=jobs, plugins=plugin or (), progress=progress)
        typer.echo((out / "doses.md").read_text())
        return
    with interruptible(), following(quiet) as progress:
        audits.run(
            world,
            out,
            steps=steps,
            seeds=seeds,
            device=device,
            jobs=jobs,
            limit=limit,
            plugins=plugin or (),
            progress=progress,
        )
    typer.echo((out / "audit.md").read_text())
