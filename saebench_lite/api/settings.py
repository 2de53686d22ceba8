"""Settings of tasks and plugins, checked against their annotations before anything runs.

A config is a frozen dataclass whose annotations say what a field takes: `Literal` choices, bool, int, float, str, Path,
unions with None, `tuple[X, ...]` (at least one item), `tuple[X, Y]`, `dict[X, Y]`, another dataclass, and
`Annotated[X, Range(...)]`, `Annotated[X, Distinct()]` or `FileOrFolder`. What is annotated otherwise is taken as it is.
A config that derives from `Settings` is checked wherever it is built; `checked` does the same for any dataclass.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import itertools
import math
import numbers
import textwrap
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from saebench_lite.api.task import Task
from saebench_lite.errors import MOST_WHOLE, SaebenchError, told

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Range:
    """Bounds of a number; None: unbounded. `open`: the bounds themselves are excluded."""

    low: float | None = None
    high: float | None = None
    open: bool = False

    def __contains__(self, value: float) -> bool:
        """Whether a number lies within the bounds."""
        low, high = -math.inf if self.low is None else self.low, math.inf if self.high is None else self.high
        return low < value < high if self.open else low <= value <= high

    def __str__(self) -> str:
        """As it reads after "a number"."""
        over, under = ("above", "below") if self.open else ("at least", "at most")
        ends = [(over, self.low), (under, self.high)]
        return " and ".join(f"{word} {end:,g}" for word, end in ends if end is not None)


@dataclasses.dataclass(frozen=True)
class Distinct:
    """Marks a tuple that names nothing twice."""


@dataclasses.dataclass(frozen=True)
class ByContent:
    """Marks a text that may name a file or folder, which records tell by its content (`recorded_settings`)."""


FileOrFolder = Annotated[str, ByContent()]
"A file or folder of the user's, or another text that the setting takes in its place."

Count = Annotated[int, Range(1)]
"A whole number from 1 up."

Share = Annotated[float, Range(0.0, 1.0)]
"A number from 0 to 1."


class Settings:
    """Base of a frozen dataclass whose fields are checked when it is built, whoever builds it.

    A subclass with rules of its own calls `super().__post_init__()` first.
    """

    def __post_init__(self) -> None:
        owner = f"{type(self).__module__.rpartition('.')[2]}.{type(self).__name__}"
        hints = annotations_of(type(self))
        for field in dataclasses.fields(self):  # type: ignore[arg-type]  (subclasses are dataclasses)
            given = getattr(self, field.name)
            value = _checked(given, hints.get(field.name, Any), f"{owner} setting {field.name}")
            object.__setattr__(self, field.name, value)


def annotations_of(config: type) -> dict[str, object]:
    """Annotation of each field by name, `Annotated` included; empty where they cannot be resolved."""
    try:
        return get_type_hints(config, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return {}


def make_config(task: Task, settings: Mapping[str, object]) -> Any:  # Any: a task has its own dataclass
    """The task's config with some fields changed; SaebenchError for what it does not take (see `checked`)."""
    return checked(task.config, settings, f"task {task.card.name!r}")


def checked(config: type[T], values: Mapping[str, object], owner: str) -> T:
    """An instance of the dataclass `config` with some fields changed, lists as tuples and whole floats as floats.

    `owner` opens every message, for example "task 'absorption'". SaebenchError, one sentence that names the field, for
    an unknown name, a missing value, a value the annotation does not allow, or one the config itself refuses.
    """
    fields = {f.name: f for f in dataclasses.fields(config)}  # type: ignore[arg-type]  (a dataclass, by contract)
    for name in sorted(set(values) - set(fields)):
        close = difflib.get_close_matches(name, fields, n=2, cutoff=0.5)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise SaebenchError(f"{owner} has no setting {name!r}; it has {', '.join(sorted(fields)) or 'none'}{hint}")
    for name, field in fields.items():
        empty = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if empty and name not in values:
            raise SaebenchError(f"{owner} needs a value of its setting {name}")
    hints = annotations_of(config)
    taken = {name: _checked(value, hints.get(name, Any), f"{owner} setting {name}") for name, value in values.items()}
    try:
        return config(**taken)
    except SaebenchError:
        raise
    except Exception as error:
        raise SaebenchError(f"{owner} does not take these settings: {error or type(error).__name__}") from error


def _checked(value: Any, annotation: Any, where: str) -> Any:
    """The value as the annotation wants it; SaebenchError that begins with `where`."""
    try:
        return _converted(value, annotation)
    except _Refused as refused:
        raise SaebenchError(f"{where} must be {refused.needs}; got {told(value)}") from None


class _Refused(Exception):
    """A value that an annotation does not allow; `needs` completes "must be"."""

    def __init__(self, needs: str) -> None:
        super().__init__(needs)
        self.needs = needs


def _converted(value: Any, annotation: Any) -> Any:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _within(value, args[0], args[1:])
    if origin is Literal:
        return _choice(value, args)
    if origin in (Union, types.UnionType):
        return _one_of(value, args)
    if origin is tuple:
        return _items(value, args)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise _Refused("a mapping")
        return {_part(k, args[0], "keys"): _part(v, args[1], "values") for k, v in value.items()}
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        return value if isinstance(value, annotation) else _nested(value, annotation)
    return _plain(value, annotation)


def _choice(value: Any, choices: tuple[Any, ...]) -> Any:
    """The choice that equals the value; True is not 1."""
    if value is None or isinstance(value, str | numbers.Number):
        for choice in choices:
            if value == choice and isinstance(value, bool) == isinstance(choice, bool):
                return choice
    raise _Refused(f"one of {', '.join(map(str, choices))}")


def _plain(value: Any, annotation: Any) -> Any:
    """A value of a simple type; any other annotation takes what it is given."""
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if annotation is bool:
        if not isinstance(value, bool):
            raise _Refused("true or false")
    elif annotation is int:
        if not (number and isinstance(value, numbers.Integral)):
            raise _Refused("a whole number")
        if abs(whole := int(value)) > MOST_WHOLE:
            raise _Refused("a whole number below 2^63")
        return whole
    elif annotation is float:
        if not number or not math.isfinite(converted := _float(value)):
            raise _Refused("a number")
        return converted
    elif annotation is str:
        if not isinstance(value, str):
            raise _Refused("a text")
    elif annotation is Path:
        if not isinstance(value, str | Path):
            raise _Refused("a path")
        return Path(value)
    elif annotation in (None, type(None)) and value is not None:
        raise _Refused("none")
    return value


def _float(value: numbers.Real) -> float:
    """The number as a float, infinite where it is beyond any."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _within(value: Any, inner: Any, marks: tuple[Any, ...]) -> Any:
    """A value of an `Annotated` type that keeps to its marks."""
    rules = [m for m in marks if isinstance(m, Range) and str(m)]
    try:
        value = _converted(value, inner)
    except _Refused as refused:
        raise _Refused(" ".join([refused.needs, *map(str, rules)])) from None
    if value is None:
        return None
    for rule in rules:
        if value not in rule:
            raise _Refused(f"{_number(inner)} {rule}")
    if any(isinstance(m, Distinct) for m in marks) and any(item in value[:i] for i, item in enumerate(value)):
        raise _Refused("without repeats")
    return value


def _number(annotation: Any) -> str:
    return "a whole number" if annotation is int else "a number"


def _one_of(value: Any, options: tuple[Any, ...]) -> Any:
    """The value as the first option that takes it; None where that is one of them."""
    if value is None and type(None) in options:
        return None
    wants = []
    for option in (o for o in options if o is not type(None)):
        try:
            return _converted(value, option)
        except _Refused as refused:
            wants.append(refused.needs)
    raise _Refused(" or ".join([*wants, *(["none"] if type(None) in options else [])]))


def _items(value: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(value, tuple | list):
        raise _Refused("a list")
    if len(args) == 2 and args[1] is Ellipsis:
        if not value:
            raise _Refused("a list of at least one item")
        return tuple(_part(item, args[0], "items") for item in value)
    if args and len(value) != len(args):
        raise _Refused(f"a list of {len(args)} items")
    return tuple(_part(item, arg, "items") for item, arg in zip(value, args, strict=True)) if args else tuple(value)


def _part(value: Any, annotation: Any, what: str) -> Any:
    try:
        return _converted(value, annotation)
    except _Refused as refused:
        kind = "a mapping" if what != "items" else "a list"
        raise _Refused(f"{kind} whose {what} are each {refused.needs}") from None


def _nested(value: Any, annotation: type) -> Any:
    if not isinstance(value, Mapping):
        raise _Refused(f"a mapping of {', '.join(f.name for f in dataclasses.fields(annotation))}")
    try:
        return checked(annotation, value, annotation.__name__)
    except SaebenchError as error:
        raise _Refused(f"a mapping as {annotation.__name__} takes it ({error})") from error


def notes_of(config: type) -> dict[str, str]:
    """What stands under each field of a dataclass as a string, bases first; empty where there is no source to read."""
    notes: dict[str, str] = {}
    for cls in reversed(config.__mro__):
        try:
            source = inspect.getsource(cls) if dataclasses.is_dataclass(cls) else ""
        except (OSError, TypeError):
            continue
        for field, after in _neighbours(source):
            if isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
                notes[field] = after.value.value
    return notes


def _neighbours(source: str) -> list[tuple[str, ast.Expr]]:
    """Annotated names of a class with the bare expression that follows each."""
    body = [n for top in ast.parse(textwrap.dedent(source)).body if isinstance(top, ast.ClassDef) for n in top.body]
    return [
        (field.target.id, after)
        for field, after in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(after, ast.Expr)
    ]
