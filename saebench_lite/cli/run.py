"""`run`, and what reads its settings."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saebench_lite.cli.tables import write_tables, written_at
from saebench_lite.cli.terminal import (
    LiveTable,
    Plugins,
    counted,
    fitting,
    following,
    interruptible,
    on_terminal,
    plug,
    say_doubts,
)
from saebench_lite.errors import SaebenchError
from saebench_lite.names import WORLD

if TYPE_CHECKING:
    from saebench_lite.runs.config import RunConfig

OUT = Path("saebench-lite-results")
LEAST_MEMORY = 0.001
"GiB."
GROUPS = {
    "What is scored": ("config", "sae", "model", "hook", "control_of", "baselines", "force_site"),
    "On what": ("data", "text_data", "limit", "max_texts", "context", "bos", "leave_out"),
    "How": ("tasks", "settings", "profile", "seeds"),
    "Where to": ("out", "force", "dry_run", "as_json", "quiet"),
    "Machine": ("device", "devices", "dtype", "encode", "memory", "cache", "shard", "engine", "workers", "jobs"),
}
"Titles of the help and the parameters below each; plugin, debug and help stand under Other."
EXAMPLE = """\b
Example: two SAEs and a folder of them on your own labelled texts
  saebench-lite run --model gpt2 --hook blocks.8.hook_resid_pre \\
      --sae ./runs/topk32 mine=./runs/relu 'sweep/*/final' \\
      --data 'local:reviews.csv?text=review&label=stars' --tasks sparse_probing
"""


def run(
    config: Annotated[
        Path | None, typer.Option(help="YAML or TOML file of a run, such as a run.yaml; options override it.")
    ] = None,
    sae: Annotated[
        list[str] | None,
        typer.Option(
            help="[name=][loader:]path[#hook=H], a folder of SAEs, a pattern, or module:attribute; several, or repeat."
            " Default with pico: the bundled SAEs."
        ),
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="Hub id or local folder; repeat; default: pico, the bundled model")
    ] = None,
    hook: Annotated[
        list[str] | None, typer.Option(help="blocks.N.hook_resid_post, ..., or a module path; repeat.")
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option(help="source[:where]; repeat. See: list sources; default: bundled")
    ] = None,
    text_data: Annotated[
        list[str] | None,
        typer.Option(help="source[:where] of texts for reconstruction and CE loss; repeat; default: those of --data"),
    ] = None,
    tasks: Annotated[str | None, typer.Option(help="Comma-separated; all by default.")] = None,
    baselines: Annotated[str | None, typer.Option(help="Comma-separated, or none; all by default.")] = None,
    control_of: Annotated[
        str | None,
        typer.Option(
            help="SAEs (comma-separated, or all) to derive controls from; default: median L0, a random one a size."
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Repeats of every evaluation that draws random numbers; default: 3")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Datasets per source at most.")] = None,
    max_texts: Annotated[
        int | None, typer.Option(help="Texts of a corpus at most, drawn evenly from its classes and parts.")
    ] = None,
    context: Annotated[
        int | None, typer.Option(help="Tokens of a text at most, where data and model allow more.")
    ] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="task.field=value (JSON); repeat.")] = None,
    profile: Annotated[
        str | None, typer.Option(help="Another benchmark's protocol: saebench-0.6, sae-probes-0.4 or axbench.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, ...; default: auto, cuda or else cpu")] = None,
    devices: Annotated[
        str | None, typer.Option(help="A process on each, with its share of the SAEs: 0,1 are two GPUs.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="Of the model: float32, bfloat16, float16; default: float32")
    ] = None,
    encode: Annotated[
        str | None,
        typer.Option(help="Products of SAEs' encoders: float32, tf32x3, bf16; default: auto, tf32x3 on a GPU"),
    ] = None,
    bos: Annotated[
        str | None,
        typer.Option(help="In front of each text: auto, prepend, as-is, none, or a vocabulary token; default: auto"),
    ] = None,
    leave_out: Annotated[
        str | None,
        typer.Option(help="Beside special tokens: sinks[:10] (times the median norm), first, special; default: sinks"),
    ] = None,
    memory: Annotated[
        float | None,
        typer.Option(help="GiB for pooled tables; more is done in blocks; default: 1, three tenths of a GPU's."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help=f"Results folder; records found there are not computed again; default: {OUT}."),
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of cached activations.")] = None,
    force: Annotated[bool | None, typer.Option("--force", help="Compute again what exists.")] = None,
    force_site: Annotated[
        bool | None, typer.Option("--force-site", help="Score SAEs whose own metadata name another model or hook.")
    ] = None,
    shard: Annotated[
        str | None, typer.Option(help="i/n: only the i-th of n shares; together they do all, none twice.")
    ] = None,
    engine: Annotated[
        str | None, typer.Option(help="local, or ray: one worker a shard (extra [ray]); default: local")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Ray workers; default: 2")] = None,
    jobs: Annotated[
        int | None,
        typer.Option(help="Subjects scored side by side on a CPU (Linux), a thread each; default: one a thread."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done and what it costs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the rows as JSON instead of a table.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress and no remarks; warnings stay.")] = False,
    plugin: Plugins = None,
) -> None:
    """Score SAEs beside baselines and controls; print and write a leaderboard. Exit status 1 if any score failed.

    long: one parameter an option.
    """
    asked = effective(
        config,
        saes=sae or None,
        models=model or None,
        hooks=hook or None,
        data=data or None,
        text_data=text_data or None,
        tasks=tasks,
        baselines=baselines,
        control_of=control_of,
        seeds=seeds,
        limit=limit,
        max_texts=max_texts,
        context=context,
        settings=parse_settings(settings) if settings else None,
        profile=profile,
        device=device,
        devices=devices,
        dtype=dtype,
        encode=encode,
        bos=bos,
        leave_out=leave_out,
        memory=memory,
        out=out,
        cache=cache,
        force=force,
        force_site=force_site,
        shard=shard,
        engine=engine,
        workers=workers,
        jobs=jobs,
        plugins=plugin or None,
    )
    plug(asked.plugins)
    from saebench_lite.report.leaderboard import leaderboard_text
    from saebench_lite.runs import plan as planning
    from saebench_lite.runs import runner, setup
    from saebench_lite.runs.machine import check_machine

    started = time.monotonic()
    with interruptible(), following(quiet) as progress:
        if dry_run:
            check_machine(asked, make=False)
            sites = setup.set_up(setup.with_each_sae(asked), progress=progress, train=False)
            plan = planning.plan(job for jobs in sites for job in jobs)
            typer.echo(json.dumps(plan.to_json(), indent=1) if as_json else plan.to_text())
            raise typer.Exit(int(plan.failing > 0))
        folder = asked.out or OUT
        earlier = written_at(folder)
        live = None if as_json else LiveTable(progress, _tasks_each(asked))
        records = runner.execute(asked, progress=progress, seen=live)
        there = written_at(folder)
    if not records:
        why = f"shard {asked.shard} has none of this run's work; the other shards have all of it"
        typer.echo("[]" if as_json else why)
        return
    write_tables(folder)
    typer.echo(
        leaderboard_text(records, "json")
        if as_json
        else fitting(records)
        if on_terminal()
        else leaderboard_text(records)
    )
    if not as_json:
        say_doubts(records)
    if not quiet and not as_json:
        took = sum(r.provenance.seconds for r in records if r.provenance is not None)
        known = {path for path, time in earlier.items() if there.get(path) == time}
        if read := sum(r.path(folder) in known for r in records):
            rest = "nothing computed" if read == len(records) else f"{len(records) - read} computed"
            typer.echo(f"{read} of {counted(len(records), 'record')} were in {folder} already, {rest}", err=True)
        typer.echo(
            f"{counted(len(records), 'record')}, their run.yaml, leaderboard.md and leaderboard.csv in {folder};"
            f" {_duration(time.monotonic() - started)} by the clock, {_duration(took)} of scoring in the records",
            err=True,
        )
    if any(r.status == "failed" for r in records):
        raise typer.Exit(1)


def _tasks_each(asked: RunConfig) -> int | None:
    """Tasks of an SAE that accepts all of them; None where that depends on the model."""
    from saebench_lite.runs import profiles, setup

    if any(model.startswith(WORLD) for model in asked.models):
        return None
    return len(profiles.apply(asked.profile, asked.tasks, None)[0] or setup.unasked_tasks(said=False))


def _duration(seconds: float) -> str:
    """`42 s`, `3 min 8 s`, `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def effective(file: Path | None, **options: Any) -> RunConfig:  # Any: fields of many types, which RunConfig checks
    """What is asked of a run: the options that were given (not None), over the file if there is one."""
    from saebench_lite.runs.config import RunConfig

    given = {field: value for field, value in options.items() if value is not None}
    config = RunConfig.from_file(file, **given) if file is not None else RunConfig(**given)
    if config.memory is not None and config.memory < LEAST_MEMORY:
        raise SaebenchError(
            f"memory is {config.memory!r}; give {LEAST_MEMORY} GiB at least, below which blocks are tiny"
        )
    return config if config.out is not None else replace(config, out=OUT)


def parse_settings(items: list[str]) -> dict[str, dict[str, object]]:
    """{task: {field: value}} of `task.field=value` items; values are JSON, lists become tuples, else plain text."""
    out: dict[str, dict[str, object]] = {}
    for item in items:
        place, equals, text = item.partition("=")
        task, dot, field = place.partition(".")
        if not (equals and dot and task and field):
            raise SaebenchError(f"--set {item!r} is not understood; write task.field=value")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        except RecursionError:
            raise SaebenchError(f"--set {place} is nested too deep; give a plain value or a list") from None
        out.setdefault(task, {})[field] = tuple(value) if isinstance(value, list) else value
    return out
