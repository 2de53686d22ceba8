"""How a caller follows long work: stages through `Progress`, sentences through the logger "saebench_lite"."""

from __future__ import annotations

import importlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from html import escape
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rich.console import Console

logger = logging.getLogger("saebench_lite")
"Failures, omissions and remarks; silence or route it as any logger."
_collecting: ContextVar[tuple[list[str], ...]] = ContextVar("collecting", default=())


def warn(sentence: str) -> None:
    """Logs a warning, and adds it to the notes of each `notes_into` around it, even where the logger is silenced.

    One that all of these notes have already is not logged again.
    """
    lists = _collecting.get()
    new_to = [notes for notes in lists if sentence not in notes]
    if new_to or not lists:
        logger.warning(sentence)
    for notes in new_to:
        notes.append(sentence)


@contextmanager
def notes_into(notes: list[str]) -> Iterator[None]:
    """Within it, the sentences of `warn` are added to `notes`, each once."""
    token = _collecting.set((*_collecting.get(), notes))
    try:
        yield
    finally:
        _collecting.reset(token)


class Progress(Protocol):
    """Receives how far each stage of a run has come."""

    def update(self, stage: str, done: int, total: int) -> None:
        """`done` of `total` steps of `stage` are finished; `total` may grow as more work becomes known."""
        ...


def doing(progress: Progress, what: str) -> None:
    """Tells a progress that shows it (one with a method `doing`) what is being worked on."""
    if tell := getattr(progress, "doing", None):
        tell(what)


class NoProgress:
    """Ignores all updates."""

    def update(self, stage: str, done: int, total: int) -> None:
        """Nothing."""


@contextmanager
def shown() -> Iterator[Progress]:
    """Progress that a caller sees: bars on a terminal (stderr), one in the cell of a notebook, nothing elsewhere."""
    if in_notebook():
        with _cell() as progress:
            yield progress
    elif sys.stderr.isatty():
        with bars() as (progress, _):
            yield progress
    else:
        yield NoProgress()


def in_notebook() -> bool:
    """Whether the code runs in the kernel of a notebook."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


@contextmanager
def bars(console: Console | None = None) -> Iterator[tuple[Bars, Callable[[str], None]]]:
    """Bars on a console (stderr) that go when the block ends, and a function that prints a sentence above them.

    They show time past, time left at the pace so far, what is being worked on, and above them a text (`Bars.show`).
    """
    from rich import progress as rich
    from rich.console import Console, RenderableType
    from rich.text import Text

    class WithText(rich.Progress):
        above = now = ""

        def get_renderables(self) -> Iterator[RenderableType]:
            if self.above:
                yield Text(self.above, no_wrap=True, overflow="ellipsis")
            yield self.make_tasks_table(self.tasks)
            if self.now:
                yield Text(self.now, no_wrap=True, overflow="ellipsis", style="dim")

    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TimeElapsedColumn(),
        rich.TextColumn("left"),
        rich.TimeRemainingColumn(elapsed_when_finished=False),
    )
    with WithText(*columns, console=console or Console(stderr=True), transient=True) as shown_bars:
        yield Bars(shown_bars), lambda sentence: shown_bars.console.print(sentence, markup=False)


class Bars:
    """A bar a stage, hidden once it is full; that of the evaluations stays."""

    def __init__(self, rich: Any) -> None:  # Any: rich's Progress with two texts, loaded on use
        self.rich = rich
        self.known: dict[str, Any] = {}

    def show(self, text: str) -> None:
        """Puts a text above the bars in the place of the last one."""
        self.rich.above = text
        self.rich.refresh()

    def doing(self, what: str) -> None:
        """Says below the bars what is being worked on."""
        self.rich.now = what

    def update(self, stage: str, done: int, total: int) -> None:
        """As of `Progress`; a stage gets its bar with the first one."""
        if stage not in self.known:
            self.known[stage] = self.rich.add_task(stage, total=total)
        self.rich.update(self.known[stage], completed=done, total=total)
        if done >= total and stage != "evaluations":
            self.rich.update(self.known[stage], visible=False)


@contextmanager
def _cell() -> Iterator[Progress]:
    """The stage at work in the output of a notebook's cell, which needs no widgets; empty when the block ends."""
    display = importlib.import_module("IPython.display")
    handle = display.display(display.HTML(""), display_id=True)
    try:
        yield _Cell(lambda text: handle.update(display.HTML(text)))
    finally:
        handle.update(display.HTML(""))


class _Cell:
    """Shows a bar as HTML, five times a second at most."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self.show, self.last = show, -1.0

    def update(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if stage == "evaluations" or now - self.last > 0.2:
            self.last = now
            self.show(f'{escape(stage)} <progress value="{done}" max="{max(total, 1)}"></progress> {done}/{total}')


class _Forward(logging.Handler):
    """Passes each message on as a sentence."""

    def __init__(self, show: Callable[[str], None]) -> None:
        super().__init__()
        self.show = show

    def emit(self, record: logging.LogRecord) -> None:
        self.show(record.getMessage())


@contextmanager
def messages_to(show: Callable[[str], None], least: int = logging.INFO) -> Iterator[None]:
    """Within it, messages of the logger, of level `least` at least, go to `show` and to no handler of its parents."""
    handler, level, propagate = _Forward(show), logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(least)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
