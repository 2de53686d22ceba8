"""The command line. Parses, reports progress, prints; everything it does is a call of the library."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from saebench_lite import registry
from saebench_lite.errors import SaebenchError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Benchmarks for sparse autoencoders: uncertainty, baselines and controls in every table.",
)
data_app = typer.Typer(no_args_is_help=True, help="Data sets that are not shipped.")
app.add_typer(data_app, name="data")

PICO_HOOK = "blocks.2.hook_resid_post"
Plugins = Annotated[
    list[str] | None, typer.Option("--plugin", help="Importable module with TASKS, LOADERS, ... dicts.")
]


@app.callback()
def common(debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False) -> None:
    """Options of every command."""


@app.command()
def run(
    sae: Annotated[
        list[str] | None,
        typer.Option(help="[name=][loader:]path, or module:attribute; repeat. Default with pico: the bundled SAEs."),
    ] = None,
    model: Annotated[str, typer.Option(help="Hub id or local folder; pico is the bundled model.")] = "pico",
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
    _plug(plugin)
    from saebench_lite import plan as planning
    from saebench_lite import runner
    from saebench_lite.bundled import sae_folders
    from saebench_lite.shard import Shard

    if hook is None and model != "pico":
        raise SaebenchError(f"--hook is needed with --model {model}; for example --hook {PICO_HOOK}")
    bundled = [str(folder) for folder in sae_folders()] if model == "pico" and hook in (None, PICO_HOOK) else []
    with _interruptible(), _progress(quiet) as (tick, say):
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
            found = planning.plan(runner.set_up(sae or bundled, **arguments))
            typer.echo(json.dumps(found.to_json(), indent=1) if as_json else found.to_text())
            return
        if engine == "ray":
            from saebench_lite.engines.on_ray import run as run_on_ray

            if shard is not None:
                raise SaebenchError("--shard and --engine ray both split the work; give one of them")
            arguments.pop("shard")
            records = run_on_ray(sae or bundled, workers=workers, plugins=plugin or (), **arguments)
        elif engine == "local":
            records = runner.run(sae or bundled, **arguments)
        else:
            raise SaebenchError(f"--engine {engine!r} is not known; choose local or ray")
    from saebench_lite.record import read_all, write_text
    from saebench_lite.tables import leaderboard as table

    everything, _ = read_all(out)
    write_text(out / "leaderboard.md", table(everything, "md"))
    write_text(out / "leaderboard.csv", table(everything, "csv"))
    typer.echo(table(records, "json" if as_json else "md"))
    if not quiet and not as_json:
        typer.echo(f"{len(records)} records and leaderboard.md, leaderboard.csv in {out}", err=True)
    if any(r.status == "failed" for r in records):
        raise typer.Exit(1)


@app.command()
def leaderboard(
    folder: Annotated[Path, typer.Argument(help="A results folder.")] = Path("saebench-lite-results"),
    form: Annotated[str, typer.Option("--format", help="md, csv, json, latex.")] = "md",
    every: Annotated[bool, typer.Option("--all-metrics", help="Not only the headline ones.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of printing.")] = None,
) -> None:
    """Tables from the records of a folder: no model, no SAE, no GPU."""
    from saebench_lite.record import write_text
    from saebench_lite.tables import leaderboard as table

    records = _records(folder)
    text = table(records, form, "all" if every else "headline")  # type: ignore[arg-type]
    if out is None:
        typer.echo(text)
    else:
        write_text(out, text)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="A subject's name.")],
    b: Annotated[str, typer.Argument(help="Another one, or the same with --folder-b.")],
    folder: Annotated[Path, typer.Argument(help="A results folder.")] = Path("saebench-lite-results"),
    folder_b: Annotated[Path | None, typer.Option(help="Results folder of B, if it is another one.")] = None,
    every: Annotated[bool, typer.Option("--all-metrics", help="Not only the headline ones.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print rows as JSON instead of a table.")] = False,
) -> None:
    """Two subjects side by side: paired differences with intervals, p-values and counts of units won."""
    from saebench_lite import compare as comparing

    ours = _records(folder)
    theirs = ours if folder_b is None else _records(folder_b)
    rows, missing = comparing.compare(ours, theirs, a, b, "all" if every else "headline")
    if as_json:
        typer.echo(json.dumps({"rows": comparing.to_rows(rows), "not_compared": missing}, indent=1))
    else:
        typer.echo(comparing.to_text(rows, missing, a, b))


@app.command()
def check(
    new: Annotated[Path, typer.Argument(help="Results folder under test.")],
    against: Annotated[Path, typer.Option(help="Results folder of an earlier run.")],
    every: Annotated[bool, typer.Option("--all-metrics", help="Not only the headline ones.")] = False,
    min_effect: Annotated[
        float | None, typer.Option(help="Change that counts, in place of each metric's minimum reliable difference.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write a summary here.")] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML here.")] = None,
) -> None:
    """Did an SAE get worse beyond noise? Exit status 0 no, 1 yes, 2 if the folders cannot be compared."""
    from saebench_lite import gate
    from saebench_lite.record import write_text

    result = gate.check(_records(new), _records(against), "all" if every else "headline", min_effect)
    text = gate.to_markdown(result)
    for path, content in ((markdown, text), (junit, gate.to_junit(result))):
        if path is not None:
            write_text(path, content)
    typer.echo(text)
    raise typer.Exit(result.status)


@app.command()
def quiver(
    folder: Annotated[Path, typer.Argument(help="A results folder.")] = Path("saebench-lite-results"),
    form: Annotated[str, typer.Option("--format", help="md, json.")] = "md",
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of printing.")] = None,
) -> None:
    """What an SAE's probe adds to the baselines when the method is picked by validation; reads probing_regimes."""
    from saebench_lite import quiver as quivering
    from saebench_lite.record import write_text

    text = quivering.to_text(quivering.quivers(_records(folder)), form)  # type: ignore[arg-type]
    if out is None:
        typer.echo(text)
    else:
        write_text(out, text)


def _records(folder: Path) -> list[Any]:
    """Records of a folder, saying what was left out; SaebenchError if there are none."""
    from saebench_lite.record import read_all

    records, complaints = read_all(folder)
    for sentence in complaints:
        typer.echo(f"left out: {sentence}", err=True)
    if not records:
        raise SaebenchError(f"{folder} holds no records; give the folder that --out named")
    return records


@app.command()
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
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Grade the suite's own metrics on a world whose true features are known."""
    from saebench_lite.audit import run as audits

    with _interruptible(), _progress(quiet) as (tick, say):
        audits.run(world, out, steps=steps, seeds=seeds, device=device, jobs=jobs, limit=limit, tick=tick, say=say)
    typer.echo((out / "audit.md").read_text())


@app.command(name="list")
def list_(
    kind: Annotated[str, typer.Argument(help="tasks, baselines, loaders, sources, metrics, or all.")] = "all",
    as_json: Annotated[bool, typer.Option("--json")] = False,
    plugin: Plugins = None,
) -> None:
    """What is registered, with one line each; a broken plugin is shown, not fatal."""
    _plug(plugin)
    if kind == "metrics":
        rows = [
            {"task": task, "metric": m.name, "better": m.better, "meaning": m.meaning}
            for task in registry.names("tasks")
            for m in registry.get("tasks", task).card.metrics
        ]
    elif kind in (*registry.KINDS, "all"):
        kinds = registry.KINDS if kind == "all" else (kind,)
        rows = [
            {"kind": k.removesuffix("s"), "name": n, "claim": _claim(k, n)} for k in kinds for n in registry.names(k)
        ]  # type: ignore[arg-type]
    else:
        raise SaebenchError(f"{kind!r} cannot be listed; choose tasks, baselines, loaders, sources, metrics or all")
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    from tabulate import tabulate

    typer.echo(tabulate(rows, headers="keys", tablefmt="plain"))


@app.command()
def inspect(
    sae: Annotated[str, typer.Argument(help="[loader:]path, or owner/repository/id[@revision].")],
    model: Annotated[str | None, typer.Option(help="Measure on this model: hub id, local folder, or pico.")] = None,
    hook: Annotated[str | None, typer.Option(help="Where in the model; the file's own hook by default.")] = None,
    texts: Annotated[int, typer.Option(min=1, help="Bundled texts to measure on.")] = 200,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    dtype: Annotated[str, typer.Option(help="Of the model: float32, bfloat16, float16.")] = "float32",
    as_json: Annotated[bool, typer.Option("--json")] = False,
    plugin: Plugins = None,
) -> None:
    """What an SAE file is and whether it does what it says. Exit status 1 if it breaks the protocol."""
    _plug(plugin)
    from saebench_lite.inspect import as_text, inspect_sae

    report = inspect_sae(sae, model=model, hook=hook, texts=texts, device=device, dtype=dtype)
    typer.echo(json.dumps(report, indent=1, default=str) if as_json else as_text(report))
    if report["verdict"] != "ok":
        raise typer.Exit(1)


@app.command()
def describe(
    name: Annotated[str, typer.Argument(help="A task, baseline, loader or source.")], plugin: Plugins = None
) -> None:
    """What a task or baseline measures, its metrics, settings and sources."""
    _plug(plugin)
    kinds: list[registry.Kind] = [k for k in registry.KINDS if name in registry.names(k)]
    if not kinds:
        registry.get("tasks", name)  # raises, with near misses
    for kind in kinds:
        typer.echo(_description(kind, name))


@data_app.command()
def pull(source: Annotated[str, typer.Argument(help="A source that can be pulled, e.g. sae-probes.")]) -> None:
    """Download a data set, check its checksum, unpack it into the cache."""
    found = registry.get("sources", source)
    if found.pull is None:
        raise SaebenchError(f"source {source!r} has nothing to pull; it reads what is already there")
    typer.echo(f"{source} is at {found.pull()}")


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


def _plug(plugins: list[str] | None) -> None:
    if plugins:
        sys.path.insert(0, "")
    for module in plugins or []:
        registry.add_plugin(module)


def _claim(kind: registry.Kind, name: str) -> str:
    try:
        thing = registry.get(kind, name)
        return thing.card.claim if kind == "tasks" else thing.claim
    except SaebenchError as error:
        return f"broken: {error}"


def _description(kind: registry.Kind, name: str) -> str:
    import dataclasses

    thing = registry.get(kind, name)
    package, version = registry.owner(kind, name)
    lines = [f"{kind.removesuffix('s')} {name} ({package} {version})", ""]
    text = registry.documentation(kind, name)
    if kind != "tasks":
        return "\n".join([*lines, thing.claim, "", text, ""])
    card = thing.card
    lines += [text, "", f"version {card.version}; source: {card.source}", "", "metrics:"]
    lines += [f"  {m.name} ({m.better}): {m.meaning}" for m in card.metrics]
    lines += ["", "settings (defaults are the official protocol):"]
    lines += [f"  {card.name}.{f.name} = {f.default!r}" for f in dataclasses.fields(thing.config)]
    return "\n".join(lines) + "\n"


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C ends with a sentence instead of a traceback."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("Interrupted; finished records are kept and will not be computed again.", err=True)
        raise typer.Exit(130) from None


@contextmanager
def _progress(quiet: bool) -> Iterator[tuple[Callable[[str, int, int], None], Callable[[str], None]]]:
    """Progress on stderr: bars on a terminal, a line per finished stage elsewhere, nothing when quiet."""

    def say(sentence: str) -> None:
        typer.echo(sentence, err=True)

    if quiet:
        yield (lambda what, done, total: None), say
        return
    if not sys.stderr.isatty():

        def line(what: str, done: int, total: int) -> None:
            if done >= total or (what == "evaluations" and done % 10 == 0):
                say(f"{what}: {done}/{total}")

        yield line, say
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        known: dict[str, Any] = {}

        def tick(what: str, done: int, total: int) -> None:
            if what not in known:
                known[what] = bars.add_task(what, total=total)
            bars.update(known[what], completed=done, total=total)
            if done >= total and what != "evaluations":
                bars.update(known[what], visible=False)

        yield tick, lambda sentence: bars.console.print(sentence, markup=False)


def main() -> None:
    """Entry point: one sentence instead of a traceback for bad input, exit status 2."""
    try:
        app()
    except SaebenchError as error:
        if "--debug" in sys.argv:
            raise
        typer.echo(f"Error: {error}", err=True)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
