"""How a caller follows long work: stages through `Progress`, sentences through the logger "saebench_lite"."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

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


class NoProgress:
    """Ignores all updates."""

    def update(self, stage: str, done: int, total: int) -> None:
        """Nothing."""


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
