"""What commands share: progress, interruption, plugins, records of a folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from saebench_lite import registry
from saebench_lite.errors import SaebenchError

Plugins = Annotated[
    list[str] | None, typer.Option("--plugin", help="Importable module with TASKS, LOADERS, ... dicts.")
]


def plug(plugins: list[str] | None) -> None:
    if plugins:
        sys.path.insert(0, "")
    for module in plugins or []:
        registry.add_plugin(module)


def records_of(folder: Path) -> list[Any]:
    """Records of a folder, saying what was left out; SaebenchError if there are none."""
    from saebench_lite.records.record import read_all

    records, complaints = read_all(folder)
    for sentence in complaints:
        typer.echo(f"left out: {sentence}", err=True)
    if not records:
        raise SaebenchError(f"{folder} holds no records; give the folder that --out named")
    return records


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C ends with a sentence instead of a traceback."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("Interrupted; finished records are kept and will not be computed again.", err=True)
        raise typer.Exit(130) from None


@contextmanager
def progress(quiet: bool) -> Iterator[tuple[Callable[[str, int, int], None], Callable[[str], None]]]:
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
