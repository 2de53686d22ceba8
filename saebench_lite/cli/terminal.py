"""What commands share: errors as one sentence, progress, interruption, plugins, records of a folder."""

from __future__ import annotations

import difflib
import functools
import inspect
import itertools
import json
import logging
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

import typer
from typer.models import OptionInfo

from saebench_lite import registry
from saebench_lite.errors import SaebenchError, out_of_memory, reason
from saebench_lite.progress import Bars, NoProgress, Progress, bars, messages_to
from saebench_lite.report.markup import visible

if TYPE_CHECKING:
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
    for hint in hints.values():
        _refuse_empty_paths(hint)

    @functools.wraps(command)
    def run(ctx: typer.Context, debug: bool, **arguments: object) -> None:
        try:
            command(**arguments)
        except (SaebenchError, OSError, MemoryError, RecursionError, UnicodeError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not (isinstance(error, RecursionError) or out_of_memory(error)):
                raise  # a fault of ours
            if debug or ctx.find_root().params.get("debug"):
                raise
            sentence = (
                reason(error) if isinstance(error, SaebenchError) else f"{reason(error)}; finished records are kept"
            )
            if arguments.get("as_json"):
                typer.echo(json.dumps({"error": sentence}))
            else:
                typer.echo(f"Error: {visible(sentence)}", err=True)
            raise typer.Exit(2) from None

    keyword = inspect.Parameter.KEYWORD_ONLY
    own = [p.replace(annotation=hints[name], kind=keyword) for name, p in inspect.signature(command).parameters.items()]
    own.append(inspect.Parameter("debug", keyword, default=False, annotation=Debug))
    own.append(inspect.Parameter("ctx", keyword, annotation=typer.Context))
    run.__doc__ = inspect.cleandoc(command.__doc__ or "").split("\n\n")[0]  # what is for help
    run.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]  # typer reads it, functions may have one
    run.__annotations__ = hints | {"debug": Debug, "ctx": typer.Context}
    return run


def _refuse_empty_paths(hint: Any) -> None:  # Any: a type, or one with its option
    """Lets an option of paths be read by `_path`."""
    kind, *told = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    if Path in (kind, *get_args(kind)):
        for option in told:
            if isinstance(option, OptionInfo):
                option.parser, option.metavar = _path, option.metavar or "PATH"


def _path(text: str) -> Path:
    """A path; a usage error for the empty text of a shell's unset variable, which would be the working folder."""
    if not str(text).strip():
        raise typer.BadParameter("it is empty; give a path, or . for the working folder")
    return Path(text)


def plug(plugins: Sequence[str] | None) -> None:
    """Registers plugin modules."""
    for module in plugins or []:
        registry.add_plugin(module)


def find_modules_here() -> None:
    """Lets modules of the working folder be imported: plugins, and SAEs as `module:attribute`."""
    if "" not in sys.path:
        sys.path.append("")  # behind the libraries, of which a file of the folder may have the name


def records_of(folder: Path) -> list[Record]:
    """Records of a folder, saying what was left out; SaebenchError if there are none."""
    from saebench_lite.records.record import read
    from saebench_lite.records.selection import current

    with messages_to(lambda sentence: typer.echo(visible(sentence), err=True)):
        return current(read(folder))


def counted(number: int, noun: str) -> str:
    """`1 record`, `2 records`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def on_terminal() -> bool:
    """Whether what is printed goes to a terminal and not to a file or another program."""
    return sys.stdout.isatty()


Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...; auto: cuda or else cpu.")]
ModelDtype = Annotated[str, typer.Option(help="Of the model: float32, bfloat16, float16.")]
Bos = Annotated[str, typer.Option(help="In front of each text: auto, prepend, as-is, none, or a vocabulary token.")]
LeaveOut = Annotated[str, typer.Option(help="Beside special tokens: sinks[:10] (times the median), first, special.")]


def say_doubts(records: Sequence[Record]) -> None:
    """Signs that something else was scored than was meant, on stderr under a table."""
    from saebench_lite.report.doubts import doubts

    for sentence in doubts(records):
        typer.echo(visible(f"Check {sentence}"), err=True)


def fitting(records: Sequence[Record], metrics: Sequence[str] | None = None) -> str:
    """Leaderboards of records, a table a site, as wide as the terminal; SaebenchError for a metric that none scores.

    Args:
        records: those shown.
        metrics: names of metrics to show; None: the first of each dimension and more as there is room.
    """
    from saebench_lite.records.verdicts import shipped_verdicts
    from saebench_lite.report.leaderboard import tables
    from saebench_lite.report.terminal_table import narrow

    per_site = tables(records, shipped_verdicts(), "headline" if metrics is None else "all")
    known = dict.fromkeys(name for t in per_site for c in t.columns for name in c.names)
    for name in metrics or ():
        if name not in known:
            close = difflib.get_close_matches(name, list(known), n=3, cutoff=0.4) or list(known)[:3]
            raise SaebenchError(f"no record scores metric {name!r}; did you mean {' or '.join(close)}?")
    width = shutil.get_terminal_size().columns
    more = "--wide" if metrics is None else "--wide --metrics all"
    return "\n".join(narrow(table, width, metrics, more) for table in per_site)


def repeated(words: Sequence[str], command: str, option: str) -> list[str]:
    """The words of a command line with an option before each of the words that follow it: `-a x y` as `-a x -a y`.

    So a shell may expand `--against runs/seed-*` or `--sae runs/*`. Words of other commands stay as they are.

    Args:
        words: the command line.
        command: the command that takes the option.
        option: its name.
    """
    if command not in words:
        return list(words)
    out: list[str] = []
    taking = False
    for word, following in zip(words, [*words[1:], "-"], strict=True):
        if word.startswith("-"):
            taking = word == option or word.startswith(f"{option}=")
            out += [] if word == option and not following.startswith("-") else [word]
        else:
            out += [option, word] if taking else [word]
    return out


@contextmanager
def interruptible(kept: str = "finished records are kept and will not be computed again") -> Iterator[None]:
    """Ctrl-C ends with a sentence, which says what is kept, instead of a traceback."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"Interrupted; {kept}.", err=True)
        raise typer.Exit(130) from None


@contextmanager
def following(quiet: bool) -> Iterator[Progress]:
    """Progress and messages on stderr: bars on a terminal, else a line a finished stage; if quiet, only warnings."""
    if quiet or not sys.stderr.isatty():
        least = logging.WARNING if quiet else logging.INFO
        with messages_to(lambda sentence: typer.echo(visible(sentence), err=True), least):
            yield NoProgress() if quiet else _Lines()
        return
    with bars() as (progress, above), messages_to(lambda sentence: above(visible(sentence))):
        yield progress


class LiveTable:
    """Shows the leaderboard so far above the bars, after each SAE of a run; nothing where there are no bars.

    The table is cut to the terminal's height. It is made anew at most once in twenty times the time that it takes.
    """

    def __init__(self, progress: Progress, tasks: int | None = None) -> None:
        """`tasks`: an SAE with so many records is done; any is when another subject's record follows."""
        self.bars, self.tasks = progress if isinstance(progress, Bars) else None, tasks
        self.whole, self.shown, self.due = 0, 0, 0.0
        "Records up to the last SAE that was left behind, those in the table, and when it may be made again."

    def __call__(self, records: Sequence[Record]) -> None:
        """Records so far, in the order in which they were made."""
        if self.bars is None:
            return
        *before, last = records
        if before and before[-1].subject.kind == "sae" and before[-1].subject.name != last.subject.name:
            self.whole = len(before)
        own = sum(1 for _ in itertools.takewhile(lambda r: r.subject.name == last.subject.name, reversed(records)))
        if last.subject.kind == "sae" and own == self.tasks:
            self.whole = len(records)
        started = time.monotonic()
        if self.whole <= self.shown or started < self.due:
            return
        self.shown = self.whole
        room = max(4, shutil.get_terminal_size().lines - 8)
        self.bars.show("\n".join(fitting(records[: self.whole]).splitlines()[:room]))
        ended = time.monotonic()
        self.due = ended + 20 * (ended - started)


class _Lines:
    """A line for each finished stage, each tenth evaluation, and one that comes a minute after the last line."""

    def __init__(self) -> None:
        self.said = time.monotonic()

    def update(self, stage: str, done: int, total: int) -> None:
        due = stage == "evaluations" and (done % 10 == 0 or time.monotonic() - self.said > 60)
        if done >= total or due:
            self.said = time.monotonic()
            typer.echo(f"{stage}: {done}/{total}", err=True)
