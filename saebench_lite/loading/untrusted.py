"""Limits and checks for files that nobody vouches for."""

from __future__ import annotations

import math
import os
import reprlib
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path, PurePosixPath

from saebench_lite.errors import SaebenchError, reason

LIMIT_VARIABLE = "SAEBENCH_LITE_MAX_BYTES"


DEFAULT_LIMIT = 64 * 2**30


TEXT_LIMIT = 4 * 2**20
"Bytes a configuration file may have."


MEMBERS = 4096
"Entries an archive may have."


_SHORT = reprlib.Repr()


_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60


_SHORT.maxlevel = 3


def limit() -> int:
    """Bytes the tensors of one file may take in float32: $SAEBENCH_LITE_MAX_BYTES, or 64 GiB."""
    given = os.environ.get(LIMIT_VARIABLE, "")
    if not given:
        return DEFAULT_LIMIT
    if not given.isascii() or not given.isdigit() or len(given) > 18:
        raise SaebenchError(f"{LIMIT_VARIABLE} = {brief(given)} is not a number of bytes; set it to a whole number")
    return int(given)


def label(path: Path) -> str:
    """Folder and file name, as error messages show them: no more of the machine than that."""
    path = path.absolute()
    return f"{path.parent.name}/{path.name}"


def brief(value: object) -> str:
    """A value in a sentence: its repr in ASCII on one line, a few levels deep, cut at 60 characters."""
    try:
        text = _SHORT.repr(value).encode("ascii", "backslashreplace").decode()
    except ValueError:  # an integer of too many digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def children(folder: Path, most: int = 2000) -> list[Path]:
    """What a folder holds, sorted, `most` entries at most; nothing for what is no folder or may not be read."""
    try:
        return sorted(islice(folder.iterdir(), most))
    except (OSError, ValueError):  # ValueError: a null byte
        return []


def listed(names: Iterable[object]) -> str:
    """The first eight names in a sentence, and how many there are beyond."""
    names = [str(n) if str(n).isprintable() and len(str(n)) <= 40 else brief(n) for n in names]
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return (", ".join(names[:8]) or "nothing") + more


@contextmanager
def reading(path: Path, way_out: str = "copy it again") -> Iterator[None]:
    """Turns any error of a parser into one sentence about `path`: damaged files raise whatever they please.

    SaebenchError for a FIFO or a device, which would be read for ever.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise SaebenchError(f"{label(path)} is no regular file; copy the file itself there")
    try:
        yield
    except SaebenchError:
        raise
    except Exception as error:
        raise SaebenchError(f"{label(path)} cannot be read ({reason(error, 160)}); {way_out}") from error


def check_total(path: Path, total: int) -> None:
    """SaebenchError if `total` bytes are more than the limit."""
    if total > limit():
        raise SaebenchError(
            f"{label(path)} holds {total / 2**30:.3g} GiB of numbers, over the limit of {limit() / 2**30:.3g} GiB;"
            f" set {LIMIT_VARIABLE} higher if you trust it"
        )


def numbers(path: Path, name: object, shape: Iterable[int]) -> int:
    """How many numbers a tensor of that shape has; SaebenchError for an empty one."""
    count = math.prod(shape)
    if count == 0:
        raise SaebenchError(f"tensor {brief(name)} of {label(path)} is empty; copy or export the file again")
    return count


def members(path: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Entries of an archive, their names and sizes checked: no path traversal, no bomb."""
    entries = archive.infolist()
    if len(entries) > MEMBERS:
        raise SaebenchError(f"{label(path)} is an archive of {len(entries)} entries; weights have at most {MEMBERS}")
    for entry in entries:
        name = entry.filename
        if name.startswith("/") or "\\" in name or ":" in name or ".." in PurePosixPath(name).parts:
            raise SaebenchError(f"{label(path)} has an entry {brief(name)} that leaves its folder; do not trust it")
        if entry.file_size > 2**24 and entry.file_size > 200 * entry.compress_size:
            raise SaebenchError(
                f"{label(path)} is a zip bomb: entry {brief(name)} grows from {entry.compress_size} to"
                f" {entry.file_size} bytes; do not trust it"
            )
    check_total(path, sum(entry.file_size for entry in entries))
    return entries
