"""The part of JSON Schema (draft 7) that test schemas use; what it does not know is an error, never passed over."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}
SAYS_NOTHING = {"$schema", "$defs", "version", "description", "default", "title", "then", "else"}


def violations(value: Any, schema: dict[str, Any], root: dict[str, Any], at: str = "") -> list[str]:
    """What breaks the schema, as `place: rule`, empty for a valid value.

    Args:
        value: of JSON.
        schema: a part of `root`.
        root: the whole schema, which holds `$defs`.
        at: place of the value.
    """
    found = []
    for rule, wanted in schema.items():
        if rule in SAYS_NOTHING:
            continue
        check = RULES.get(rule)
        if check is None:
            raise NotImplementedError(f"{rule} at {at or '/'}")
        found += check(value, wanted, schema, root, at)
    return found


def _is(value: Any, kind: str) -> bool:
    if kind == "null":
        return value is None
    return isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _type(value: Any, wanted: Any, schema: Any, root: Any, at: str) -> Iterator[str]:
    kinds = [wanted] if isinstance(wanted, str) else wanted
    if not any(_is(value, kind) for kind in kinds):
        yield f"{at}: type"


def _required(value: Any, wanted: Any, schema: Any, root: Any, at: str) -> Iterator[str]:
    yield from (f"{at}/{name}: required" for name in wanted if isinstance(value, dict) and name not in value)


def _properties(value: Any, wanted: Any, schema: Any, root: Any, at: str) -> Iterator[str]:
    for name, part in wanted.items():
        if isinstance(value, dict) and name in value:
            yield from violations(value[name], part, root, f"{at}/{name}")


def _additional(value: Any, wanted: Any, schema: Any, root: Any, at: str) -> Iterator[str]:
    for name in set(value if isinstance(value, dict) else ()) - set(schema.get("properties", ())):
        if wanted is False:
            yield f"{at}/{name}: additionalProperties"
        elif wanted is not True:
            yield from violations(value[name], wanted, root, f"{at}/{name}")


def _items(value: Any, wanted: Any, schema: Any, root: Any, at: str) -> Iterator[str]:
    for i, item in enumerate(value if isinstance(value, list) else ()):
        yield from violations(item, wanted, root, f"{at}/{i}")


def _one_of(value: Any, wanted: Any, schema: Any, root: Any, at: str) -> Iterator[str]:
    if sum(not violations(value, part, root, at) for part in wanted) != 1:
        yield f"{at}: oneOf"


def _if(value: Any, wanted: Any, schema: Any, root: Any, at: str) -> Iterator[str]:
    part = schema.get("else" if violations(value, wanted, root, at) else "then")
    yield from violations(value, part, root, at) if part else []


def _ref(value: Any, wanted: Any, schema: Any, root: Any, at: str) -> Iterator[str]:
    yield from violations(value, root["$defs"][wanted.removeprefix("#/$defs/")], root, at)


def _holds(rule: str, test: Any) -> Any:
    """A check that fails where `test(value, wanted)` is false."""

    def check(value: Any, wanted: Any, schema: Any, root: Any, at: str) -> list[str]:
        return [] if test(value, wanted) else [f"{at}: {rule}"]

    return check


RULES: dict[str, Any] = {
    "type": _type,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional,
    "items": _items,
    "oneOf": _one_of,
    "if": _if,
    "$ref": _ref,
    "enum": _holds("enum", lambda value, wanted: value in wanted),
    "const": _holds("const", lambda value, wanted: value == wanted),
    "pattern": _holds("pattern", lambda value, wanted: not isinstance(value, str) or re.search(wanted, value)),
    "minItems": _holds("minItems", lambda value, wanted: not isinstance(value, list) or len(value) >= wanted),
    "minimum": _holds("minimum", lambda value, wanted: not _is(value, "number") or value >= wanted),
    "maximum": _holds("maximum", lambda value, wanted: not _is(value, "number") or value <= wanted),
}
