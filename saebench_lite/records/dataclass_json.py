"""Dataclasses to JSON and back; reading checks against the annotations, with one sentence for what does not fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from saebench_lite.errors import SaebenchError

T = TypeVar("T")
Reader = Callable[[object, str], object]
"(value, where) -> what it stands for."


WORDS = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "an object",
}


def from_json(kind: type[T], value: object, where: str = "") -> T:
    """A dataclass out of a JSON value; `object` in an annotation takes any JSON value.

    A key may be missing where the field has a default that is no container. SaebenchError for a wrong type, a missing
    key or an unknown key: it names the place (`where` and the path below it), the value and what belongs there.
    """
    return cast("T", _read(kind, value, where))


def hold_to_annotations(thing: object, where: str) -> None:
    """Checks fields of a dataclass that were given in Python as those of a record are; a tuple may be a list there.

    SaebenchError that begins with `where` for one that a record could not hold, numbers that are not finite among them.
    """
    for name, kind in _fields(type(thing))[0].items():
        value = getattr(thing, name)
        if isinstance(value, float) and not math.isfinite(value):
            raise SaebenchError(f"{where}: {name} is {value}, not a finite number")
        if not _holds_dataclasses(kind):
            _read(kind, list(value) if isinstance(value, tuple) else value, f"{where}: {name}")


def _holds_dataclasses(kind: object) -> bool:
    return any(is_dataclass(inner) for inner in get_args(kind))


def to_object(thing: object) -> dict[str, object]:
    """A dataclass as a JSON object, without the fields that have their default."""
    if not is_dataclass(thing):
        raise TypeError(f"{type(thing).__name__} is no dataclass")
    values = {f.name: (getattr(thing, f.name), f.default) for f in fields(thing)}
    return {name: _plain(value) for name, (value, default) in values.items() if default is MISSING or value != default}


def _plain(value: object) -> object:
    if is_dataclass(value):
        return to_object(value)
    return {k: _plain(v) for k, v in value.items()} if isinstance(value, dict) else value


def _read(kind: object, value: object, where: str) -> object:
    return _reader(kind)(value, where)


@cache
def _reader(kind: object) -> Reader:
    """What reads a JSON value of an annotation; made once a kind, for a record holds thousands of numbers."""
    if kind is object:
        return lambda value, where: value
    if is_dataclass(kind):
        return lambda value, where: _object(cast("type", kind), value, where)
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, UnionType):
        (one,) = (_reader(k) for k in inner if k is not NoneType)
        return lambda value, where: None if value is None else one(value, where)
    if origin is Literal:
        return lambda value, where: _literal(inner, value, where)
    if origin is list:
        return _list_reader(inner[0])
    if origin is tuple and inner[1:] == (Ellipsis,):
        several = _list_reader(inner[0])
        return lambda value, where: tuple(cast("list[object]", several(value, where)))
    return lambda value, where: _other(cast("type", origin), inner, value, where)


def _list_reader(kind: object) -> Reader:
    """Reads lists of a kind; lists of numbers, which are most of a record, are checked by the set of their types."""
    one = _reader(kind)
    plain = {float} if kind is float else {float, NoneType} if kind == float | None else set()

    def read(value: object, where: str) -> object:
        if not isinstance(value, list):
            raise SaebenchError(f"{where or 'it'} is {_shown(value)}, not {WORDS[list]}")
        if plain and plain.issuperset(map(type, value)):
            return value
        return [one(v, f"{where}[{i}]") for i, v in enumerate(value)]

    return read


def _literal(choices: tuple[object, ...], value: object, where: str) -> object:
    if value in choices:
        return value
    raise SaebenchError(f"{where} is {_shown(value)}, not one of {', '.join(map(str, choices))}")


def _other(origin: type, inner: tuple[object, ...], value: object, where: str) -> object:
    """A number, a text, a tuple or a mapping.

    Args:
        origin: its type.
        inner: what the annotation says of its entries.
        value: the JSON value.
        where: place in the file.
    """
    if origin is float and (isinstance(value, float) or type(value) is int):
        return float(cast("float", value))
    if origin in (str, bool, int) and type(value) is origin:
        return value
    if origin is tuple and isinstance(value, list | tuple) and len(value) == len(inner):
        return tuple(_read(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(inner, value, strict=True)))
    if origin is dict and isinstance(value, Mapping):
        return {key: _read(inner[1], v, f"{where}.{key}".lstrip(".")) for key, v in value.items()}
    word = f"a list of {len(inner)}" if origin is tuple else WORDS[origin]
    raise SaebenchError(f"{where or 'it'} is {_shown(value)}, not {word}")


def _object(kind: type, value: object, where: str) -> object:
    """The dataclass `kind` of a JSON object."""
    if not isinstance(value, Mapping):
        raise SaebenchError(f"{where or 'it'} is {_shown(value)}, not an object")
    needed, optional = _fields(kind)
    place = f"{where} " if where else ""
    if missing := sorted(set(needed) - set(optional) - set(value)):
        raise SaebenchError(f"{place}lacks the key {missing[0]!r}")
    if unknown := sorted(set(value) - set(needed)):
        raise SaebenchError(f"{place}has the unknown key {unknown[0]!r}")
    parts = {k: _read(needed[k], v, f"{where}.{k}".lstrip(".")) for k, v in value.items()}
    try:
        return kind(**parts)
    except SaebenchError as error:
        raise SaebenchError(f"{place}is not right: {error}" if where else str(error)) from None


@cache
def _fields(kind: type) -> tuple[dict[str, object], frozenset[str]]:
    """Types by field name, and the fields that may be missing."""
    hints = get_type_hints(kind)
    optional = frozenset(f.name for f in fields(kind) if f.default is not MISSING)
    return {f.name: hints[f.name] for f in fields(kind)}, optional


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
