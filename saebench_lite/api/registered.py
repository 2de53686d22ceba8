"""Tasks, baselines and sources by name, each held to its type."""

from __future__ import annotations

from typing import TypeVar

from saebench_lite import registry
from saebench_lite.api.baseline import Baseline
from saebench_lite.api.task import Task
from saebench_lite.data.types import Source
from saebench_lite.errors import SaebenchError, kind_of

T = TypeVar("T")


def task(name: str) -> Task:
    """The task called `name`; SaebenchError if there is none, it is broken, or it is no `Task`."""
    return _of_type("tasks", name, Task)


def baseline(name: str) -> Baseline:
    """The baseline called `name`; SaebenchError as of `task`."""
    return _of_type("baselines", name, Baseline)


def source(name: str) -> Source:
    """The data source called `name`; SaebenchError as of `task`."""
    return _of_type("sources", name, Source)


def tasks() -> dict[str, Task]:
    """Every task that works, by name."""
    return {name: thing for name, thing in registry.get_all("tasks").items() if isinstance(thing, Task)}


def baselines() -> dict[str, Baseline]:
    """Every baseline that works, by name."""
    return {name: thing for name, thing in registry.get_all("baselines").items() if isinstance(thing, Baseline)}


def is_random_control(subject: str) -> bool:
    """Whether a subject's name (`control`, or `control of SAE`) is that of a baseline that is declared random."""
    name = subject.partition(" of ")[0]
    return name in (known := baselines()) and known[name].random


def _of_type(kind: registry.Kind, name: str, needed: type[T]) -> T:
    thing = registry.get(kind, name)
    if not isinstance(thing, needed):
        what, package = kind.removesuffix("s"), registry.owner(kind, name)[0]
        raise SaebenchError(f"{what} {name!r} of {package} is {kind_of(thing)}; a {needed.__name__} is needed")
    return thing
