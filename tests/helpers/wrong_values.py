"""Values that an annotation of a setting must refuse, made from the annotation itself."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from saebench_lite.api.settings import Distinct, Range, annotations_of


def wrong_values(wanted: Any) -> Iterator[Any]:
    """At least one value of each kind of mistake that the annotation can rule out; nothing where it rules out none."""
    origin, args = get_origin(wanted), get_args(wanted)
    if origin is Annotated:
        yield from wrong_values(args[0])
        for mark in args[1:]:
            if isinstance(mark, Range):
                yield from _outside(mark, args[0])
            if isinstance(mark, Distinct):
                good = next(_good(get_args(args[0])[0]))
                yield (good, good)
    elif origin is Literal:
        yield from ("no such choice", 10**9, None, [args[0]])
        yield from (True for choice in args if choice == 1)
    elif origin in (Union, types.UnionType):
        options = [a for a in args if a is not type(None)]
        if len(options) == 1:
            yield from (v for v in wrong_values(options[0]) if v is not None)
    elif origin is tuple:
        yield from ((), "abc", 7, None)
        yield from ((wrong,) for wrong in wrong_values(args[0]))
    elif wanted is bool:
        yield from (0, "yes", None)
    elif wanted is int:
        yield from ("many", 1.5, True, None, float("nan"), (1,), 10**400, -(10**5000))
    elif wanted is float:
        yield from ("many", True, None, float("nan"), float("inf"), (1.0,), 10**400, -(10**5000), Fraction(10**400, 3))
    elif wanted in (str, Path):
        yield from (5, None, ("a",))


def _outside(mark: Range, kind: type) -> Iterator[Any]:
    for end, step in ((mark.low, -1), (mark.high, 1)):
        if end is not None:
            yield kind(end) if mark.open else kind(end) + step


def _good(wanted: Any) -> Iterator[Any]:
    """A value that the annotation allows."""
    origin, args = get_origin(wanted), get_args(wanted)
    if wanted in (int, float, str):
        yield wanted(1)
    elif origin is Literal:
        yield args[0]
    elif origin is Annotated:
        mark = next(m for m in args[1:] if isinstance(m, Range))
        low = mark.low or 0
        high = low + 4 if mark.high is None else mark.high
        yield args[0]((low + high) / 2)


def wrong_settings(config: type) -> Iterator[tuple[str, Any]]:
    """(field, wrong value) of every field of a config whose annotation rules something out."""
    hints = annotations_of(config)
    for field in dataclasses.fields(config):
        for value in wrong_values(hints.get(field.name, Any)):
            yield field.name, value
