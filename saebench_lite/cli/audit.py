"""`audit`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from saebench_lite.cli.terminal import Plugins, following, interruptible, plug
from saebench_lite.errors import MOST_WHOLE, SaebenchError
from saebench_lite.files import check_place
from saebench_lite.names import PICO, WORLD
from saebench_lite.progress import Progress
from saebench_lite.runs.config_checks import MOST_SEEDS, number_from, optional

MOST_JOBS = 1000
"Processes, beyond which a machine starts none."


def audit(
    world: Annotated[
        str, typer.Option(help="small, tiny, standard-16k, NAME-SEED, secret-SEED; FIELD=VALUE after commas.")
    ] = "small",
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for SAEs, records, audit.json, audit.md and its figures; or attack.json and attack.md, or"
            " causes.json and causes.md."
        ),
    ] = Path("saebench-lite-audit"),
    steps: Annotated[int, typer.Option(help="Training steps of each SAE.")] = 1500,
    bf16: Annotated[
        bool, typer.Option("--bf16", help="Train the panel with matrix products in bfloat16, as a GPU does unasked.")
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option(
            help="Repeats of every evaluation that draws random numbers; 3, and 1 with --attack, 2 with --causes."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Concepts at most, evenly over all kinds.")] = None,
    jobs: Annotated[int, typer.Option(help="Processes that train and score, one thread each.")] = 2,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    doses: Annotated[
        bool,
        typer.Option("--doses", help="Only try each metric on planted faults: doses.json and doses.md, no training."),
    ] = False,
    attack: Annotated[
        bool, typer.Option("--attack", help="Edit SAEs' weights instead, and say which metrics rise by it.")
    ] = False,
    causes: Annotated[
        bool,
        typer.Option(
            "--causes",
            help="Plant causes instead, and say which scores of interventions rank an oracle over trained, soft-frozen"
            " and untrained SAEs.",
        ),
    ] = False,
    model: Annotated[str | None, typer.Option(help="With --attack: pico, whose bundled SAEs are edited.")] = None,
    plugin: Plugins = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no remarks; warnings stay.")] = False,
) -> None:
    """Ask whether the suite's own metrics follow the truth of a world, or see which of them can be gamed.

    long: one parameter an option.
    """
    plug(plugin)
    if len(asked := [name for name, on in (("doses", doses), ("attack", attack), ("causes", causes)) if on]) > 1:
        raise SaebenchError(f"--{' and --'.join(asked)} are different audits; give one of them")
    if model is not None and not (attack and model == PICO):
        raise SaebenchError(f"--model takes {PICO} alone, with --attack, not {model!r}; name a world with --world")
    if bf16 and asked:
        raise SaebenchError(f"--bf16 is for the panel's training; --{asked[0]} has none of it, leave it out")
    for option, value, most in (("steps", steps, MOST_WHOLE), ("seeds", seeds, MOST_SEEDS), ("jobs", jobs, MOST_JOBS)):
        optional(number_from(1, most))(option, value)
    optional(number_from(1))("limit", limit)
    check_place("out", out)
    shared = {"limit": limit, "plugins": plugin or ()}
    with interruptible(), following(quiet) as progress:
        if doses:
            page = _doses(world, out, jobs=jobs, progress=progress, **shared)
        elif causes:
            from saebench_lite.audit import causes_run

            causes_run.run(
                world, out, steps=steps, seeds=seeds or 2, device=device, jobs=jobs, progress=progress, **shared
            )
            page = "causes.md"
        elif attack:
            page = _attack(
                world, model, out, steps, seeds=seeds or 1, device=device, jobs=jobs, progress=progress, **shared
            )
        else:
            from saebench_lite.audit.run import run

            run(
                world,
                out,
                steps=steps,
                bf16=bf16,
                seeds=seeds or 3,
                device=device,
                jobs=jobs,
                progress=progress,
                **shared,
            )
            page = "audit.md"
    typer.echo((out / page).read_text())


def _doses(world: str, out: Path, *, limit: int | None, jobs: int, plugins: Sequence[str], progress: Progress) -> str:
    from saebench_lite.audit.doses import CONCEPTS, run

    run(world, out, limit=limit or CONCEPTS, jobs=jobs, plugins=plugins, progress=progress)
    return "doses.md"


def _attack(
    world: str,
    model: str | None,
    out: Path,
    steps: int,
    *,
    seeds: int,
    limit: int | None,
    device: str,
    jobs: int,
    plugins: Sequence[str],
    progress: Progress,
) -> str:
    from saebench_lite.audit.attack import CONCEPTS, bundled, one_each, run

    place = f"--model {model}" if model else f"--world {world} --steps {steps}"
    extra = (f" --seeds {seeds}" if seeds > 1 else "") + (f" --limit {limit}" if limit else "")
    run(
        model or f"{WORLD}{world}",
        bundled() if model else one_each(world, out / "saes", steps, device, jobs, progress),
        out,
        seeds=seeds,
        limit=limit or CONCEPTS,
        device=device,
        plugins=plugins,
        command=f"saebench-lite audit --attack {place}{extra}",
        progress=progress,
    )
    return "attack.md"
