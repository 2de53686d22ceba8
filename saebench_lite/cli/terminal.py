"""What commands share: errors as one sentence, progress, interruption, plugins, records of a folder."""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from saebench_lite import registry
from saebench_lite.errors import SaebenchError
from saebench_lite.progress import NoProgress, Progress, messages_to

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from saebench_lite.records.record import Record

Plugins = Annotated[
    list[str] | None, typer.Option("--plugin", help="Importable module with TASKS, LOADERS, ... dicts.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]


def guarded(command: Callable[..., None]) -> Callable[..., None]:
    """The command with `--debug`, which otherwise answers bad input with one sentence and exit status 2.

    The sentence goes to stderr, or with `--json` to stdout as {"error": sentence}.
    """
    hints = get_type_hints(command, include_extras=True)

    @functools.wraps(command)
    def run(ctx: typer.Context, debug: bool, **arguments: object) -> None:
        try:
            command(**arguments)
        except SaebenchError as error:
            if debug or ctx.find_root().params.get("debug"):
                raise
            if arguments.get("as_json"):
                typer.echo(json.dumps({"error": str(error)}))
            else:
                typer.echo(f"Error: {error}", err=True)
            raise typer.Exit(2) from None

    keyword = inspect.Parameter.KEYWORD_ONLY
    own = [p.replace(annotation=hints[name], kind=keyword) for name, p in inspect.signature(command).parameters.items()]
    own.append(inspect.Parameter("debug", keyword, default=False, annotation=Debug))
    own.append(inspect.Parameter("ctx", keyword, annotation=typer.Context))
    run.__doc__ = inspect.cleandoc(command.__doc__ or "").split("\n\n")[0]  # what is for help
    run.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]  # typer reads it, functions may have one
    run.__annotations__ = hints | {"debug": Debug, "ctx": typer.Context}
    return run


def plug(plugins: Sequence[str] | None) -> None:
    """Registers plugin modules, of the working folder too."""
    if plugins:
        sys.path.insert(0, "")
    for module in plugins or []:
        registry.add_plugin(module)


def records_of(folder: Path) -> list[Record]:
    """Records of a folder, saying what was left out; SaebenchError if there are none."""
    from saebench_lite.records.record import read_all

    records, complaints = read_all(folder)
    for sentence in complaints:
        typer.echo(f"left out: {sentence}", err=True)
    if not records:
        raise SaebenchError(f"{folder} holds no records; give the folder that --out named")
    return records


def repeated(words: Sequence[str], command: str, option: str) -> list[str]:
    """The words of a command line with an option before each of the words that follow it: `-a x y` as `-a x -a y`.

    So a shell may expand `--against runs/seed-*`. Words of other commands stay as they are.

    Args:
        words: the command line.
        command: the command that takes the option.
        option: its name.
    """
    if command not in words:
        return list(words)
    out: list[str] = []
    taking = False
    for word in words:
        if word.startswith("-"):
            taking = word == option or word.startswith(f"{option}=")
            out += [] if word == option else [word]
        else:
            out += [option, word] if taking else [word]
    return out


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C ends with a sentence instead of a traceback."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("Interrupted; finished records are kept and will not be computed again.", err=True)
        raise typer.Exit(130) from None


@contextmanager
def following(quiet: bool) -> Iterator[Progress]:
    """Progress and messages on stderr: bars on a terminal, a line a finished stage elsewhere, no progress if quiet."""
    if quiet or not sys.stderr.isatty():
        with messages_to(lambda sentence: typer.echo(sentence, err=True)):
            yield NoProgress() if quiet else _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with (
        Bars(*columns, console=Console(stderr=True), transient=True) as bars,
        messages_to(lambda sentence: bars.console.print(sentence, markup=False)),
    ):
        yield _Bars(bars)


class _Lines:
    """A line for each finished stage, and for each tenth evaluation."""

    def update(self, stage: str, done: int, total: int) -> None:
        if done >= total or (stage == "evaluations" and done % 10 == 0):
            typer.echo(f"{stage}: {done}/{total}", err=True)


class _Bars:
    """A bar a stage, hidden once it is full; that of the evaluations stays."""

    def __init__(self, bars: Bars) -> None:
        self.bars = bars
        self.known: dict[str, Any] = {}

    def update(self, stage: str, done: int, total: int) -> None:
        if stage not in self.known:
            self.known[stage] = self.bars.add_task(stage, total=total)
        self.bars.update(self.known[stage], completed=done, total=total)
        if done >= total and stage != "evaluations":
            self.bars.update(self.known[stage], visible=False)
