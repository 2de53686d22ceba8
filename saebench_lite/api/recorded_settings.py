"""Settings of a task as its records hold them."""

from __future__ import annotations

import dataclasses
import types
from pathlib import Path
from typing import Annotated, Union, get_args, get_origin

from saebench_lite.api.settings import ByContent, annotations_of
from saebench_lite.files import content_digest


def recorded(config: object) -> dict[str, object]:
    """Settings of a config as records hold them: equal on every machine, and others once the content of a file is.

    A file or folder stands as `name#digest` of its content, not as the place where it lies; a default as it is.
    """
    values, hints = dataclasses.asdict(config), annotations_of(type(config))  # type: ignore[call-overload]  (a dataclass)
    for field in dataclasses.fields(config):  # type: ignore[arg-type]  (a dataclass)
        value = values[field.name]
        if value and value != field.default and _by_content(hints.get(field.name)) and Path(value).exists():
            path = Path(value).resolve()
            values[field.name] = f"{path.name}#{content_digest(path)}"
    return values


def _by_content(annotation: object) -> bool:
    """Whether an annotation, or an option of its union, is a path or marked `ByContent`."""
    marked = get_origin(annotation) is Annotated and any(isinstance(a, ByContent) for a in get_args(annotation))
    options = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else ()
    return marked or annotation is Path or any(map(_by_content, options))
