"""Dataclasses to JSON and back; reading checks against the annotations, with one sentence for what does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from saebench_lite.errors import SaebenchError

T = TypeVar("T")


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
    if kind is object:
        return value
    if is_dataclass(kind):
        return _object(cast("type", kind), value, where)
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, UnionType):
        (one,) = (k for k in inner if k is not NoneType)
        return None if value is None else _read(one, value, where)
    if origin is Literal:
        if value in inner:
            return value
        raise SaebenchError(f"{where} is {_shown(value)}, not one of {', '.join(map(str, inner))}")
    if origin is float and type(value) in (int, float):
        return float(cast("float", value))
    if origin in (str, bool, int) and type(value) is origin:
        return value
    if origin is list and isinstance(value, list):
        (one,) = inner
        if one == float | None and all(v is None or type(v) is float for v in value):
            return value  # most of a record
        return [_read(one, v, f"{where}[{i}]") for i, v in enumerate(value)]
    if origin is tuple and isinstance(value, list | tuple) and len(value) == len(inner):
        return tuple(_read(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(inner, value, strict=True)))
    if origin is dict and isinstance(value, Mapping):
        return {key: _read(inner[1], v, f"{where}.{key}".lstrip(".")) for key, v in value.items()}
    word = f"a list of {len(inner)}" if origin is tuple else WORDS[cast("type", origin)]
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
