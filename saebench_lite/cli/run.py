"""`run`, and what reads its settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from saebench_lite.cli.terminal import Plugins, interruptible, plug, progress
from saebench_lite.errors import SaebenchError
from saebench_lite.names import PICO, PICO_HOOK


def run(
    sae: Annotated[
        list[str] | None,
        typer.Option(help="[name=][loader:]path, or module:attribute; repeat. Default with pico: the bundled SAEs."),
    ] = None,
    model: Annotated[str, typer.Option(help="Hub id or local folder; pico is the bundled model.")] = PICO,
    hook: Annotated[str | None, typer.Option(help="blocks.N.hook_resid_post, ..., or a module path.")] = None,
    data: Annotated[list[str] | None, typer.Option(help="source[:where]; repeat. See: list sources")] = None,
    tasks: Annotated[str | None, typer.Option(help="Comma-separated; all by default.")] = None,
    baselines: Annotated[str | None, typer.Option(help="Comma-separated, or none; all by default.")] = None,
    control_of: Annotated[
        str | None, typer.Option(help="SAEs (comma-separated, or all) to derive controls from; default: median L0.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Repeats of every evaluation that draws random numbers.")] = 3,
    limit: Annotated[int | None, typer.Option(help="Datasets per source at most.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="task.field=value (JSON); repeat.")] = None,
    profile: Annotated[
        str | None, typer.Option(help="Another benchmark's protocol: saebench-0.6, sae-probes-0.4 or axbench.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    dtype: Annotated[str, typer.Option(help="Of the model: float32, bfloat16, float16.")] = "float32",
    memory: Annotated[float, typer.Option(help="GiB for pooled tables; more than that is done in blocks.")] = 1.0,
    out: Annotated[Path, typer.Option(help="Results folder; records found there are not computed again.")] = Path(
        "saebench-lite-results"
    ),
    cache: Annotated[Path | None, typer.Option(help="Folder of cached activations.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Compute again what exists.")] = False,
    shard: Annotated[
        str | None, typer.Option(help="i/n: only the i-th of n shares; together they do all, none twice.")
    ] = None,
    engine: Annotated[str, typer.Option(help="local, or ray: one worker a shard (extra [ray]).")] = "local",
    workers: Annotated[int, typer.Option(help="Ray workers.")] = 2,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done and what it costs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON instead of a table.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
    plugin: Plugins = None,
) -> None:
    """Score SAEs beside baselines and controls; print and write a leaderboard. Exit status 1 if any score failed."""
    plug(plugin)
    from saebench_lite.bundled import sae_folders
    from saebench_lite.runs import plan as planning
    from saebench_lite.runs import runner, setup
    from saebench_lite.runs.sharding import Shard

    if hook is None and model != PICO:
        raise SaebenchError(f"--hook is needed with --model {model}; for example --hook {PICO_HOOK}")
    bundled = [str(folder) for folder in sae_folders()] if model == PICO and hook in (None, PICO_HOOK) else []
    with interruptible(), progress(quiet) as (tick, say):
        arguments: dict[str, Any] = {
            "model": model,
            "hook": hook or PICO_HOOK,
            "data": data or ["bundled"],
            "tasks": tasks.split(",") if tasks else None,
            "baselines": None if baselines is None else [b for b in baselines.split(",") if b not in ("", "none")],
            "control_of": control_of.split(",") if control_of else None,
            "seeds": seeds,
            "out": out,
            "device": device,
            "dtype": dtype,
            "limit": limit,
            "settings": parse_settings(settings or []),
            "profile": profile,
            "cache": cache,
            "memory": int(memory * 2**30),
            "force": force,
            "shard": None if shard is None else Shard.parse(shard),
            "tick": tick,
            "say": say,
        }
        if dry_run:
            found = planning.plan(setup.set_up(sae or bundled, **arguments))
            typer.echo(json.dumps(found.to_json(), indent=1) if as_json else found.to_text())
            return
        if engine == "ray":
            from saebench_lite.runs.ray_engine import run as run_on_ray

            if shard is not None:
                raise SaebenchError("--shard and --engine ray both split the work; give one of them")
            arguments.pop("shard")
            records = run_on_ray(sae or bundled, workers=workers, plugins=plugin or (), **arguments)
        elif engine == "local":
            records = runner.run(sae or bundled, **arguments)
        else:
            raise SaebenchError(f"--engine {engine!r} is not known; choose local or ray")
    from saebench_lite.files import write_text
    from saebench_lite.records.record import read_all
    from saebench_lite.report.leaderboard import leaderboard as table

    everything, _ = read_all(out)
    write_text(out / "leaderboard.md", table(everything, "md"))
    write_text(out / "leaderboard.csv", table(everything, "csv"))
    typer.echo(table(records, "json" if as_json else "md"))
    if not quiet and not as_json:
        typer.echo(f"{len(records)} records and leaderboard.md, leaderboard.csv in {out}", err=True)
    if any(r.status == "failed" for r in records):
        raise typer.Exit(1)


def parse_settings(items: list[str]) -> dict[str, dict[str, Any]]:
    """{task: {field: value}} of `task.field=value` items; values are JSON, lists become tuples, else plain text."""
    out: dict[str, dict[str, Any]] = {}
    for item in items:
        place, equals, text = item.partition("=")
        task, dot, field = place.partition(".")
        if not (equals and dot and task and field):
            raise SaebenchError(f"--set {item!r} is not understood; write task.field=value")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        out.setdefault(task, {})[field] = tuple(value) if isinstance(value, list) else value
    return out
