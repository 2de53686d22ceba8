"""Files of the suite: atomic writes, digests of JSON values, the cache folder."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from saebench_lite.errors import SaebenchError


def digest(identity: object) -> str:
    """16 hex digits of a JSON value, independent of key order."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def content_digest(path: Path) -> str:
    """16 hex digits of the bytes of a file, or of all files below a folder with their places in it."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    sha = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            sha.update(
                f"{file.relative_to(path).as_posix()} {hashlib.file_digest(stream, 'sha256').hexdigest()}".encode()
            )
    return sha.hexdigest()[:16]


def safe_name(name: str) -> str:
    """A file name made of a subject's name; different names may share one, the digest keeps them apart."""
    plain = re.sub(r"[^\w.+-]", "_", name)[:80]
    return plain.encode("utf-8", "replace")[:160].decode("utf-8", "ignore").lstrip(".") or "_"


def write_text(path: Path, text: str) -> None:
    """Writes a text file in one step; see `atomic_path`."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def check_folder(field: str, folder: Path) -> None:
    """Makes the folder; SaebenchError where it cannot be made or written to. `field` is what messages call it."""
    with _writing(field, folder):
        folder.mkdir(parents=True, exist_ok=True)
        _write_in(folder)


def check_place(field: str, folder: Path) -> None:
    """SaebenchError where a folder cannot be made or written to; makes nothing. `field` is what messages call it."""
    with _writing(field, folder):
        path = folder.absolute()
        _write_in(next(p for p in (path, *path.parents) if p.exists()))


def _write_in(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"x")


@contextmanager
def _writing(field: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise SaebenchError(f"{field} {str(folder)!r} cannot be written to ({why}); give another folder") from error


def check_file(field: str, path: Path) -> None:
    """SaebenchError where a file cannot be written at `path`. `field` is what messages call it."""
    if path.is_dir():
        raise SaebenchError(f"{field} {str(path)!r} is a folder; give the name of a file")
    check_folder(field, path.parent)


def cache_root() -> Path:
    """$SAEBENCH_LITE_CACHE, or saebench-lite under $XDG_CACHE_HOME or ~/.cache. Not created.

    SaebenchError without a home.
    """
    if given := os.environ.get("SAEBENCH_LITE_CACHE"):
        return Path(given).expanduser()
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "saebench-lite"
    except RuntimeError as error:
        raise SaebenchError("there is no home folder for the cache; name another one with --cache") from error


def mark_used(path: Path) -> None:
    """Sets the time of a file or folder to now, for file systems do not keep when it was read; if it may be set."""
    with suppress(OSError):
        os.utime(path)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A path beside `path` to write a file or folder at; it takes the place of `path` when the block ends.

    Makes the parent folder. If the block raises, what it wrote is removed and `path` stays as it was, so a reader
    never sees half of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".partial-") as room:
        partial = Path(room) / path.name
        try:
            yield partial
            if partial.is_file():
                with partial.open("rb") as file:
                    os.fsync(file.fileno())
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT) and error.filename is None:
                error.filename = str(path)  # a full disk is told by a number alone
            raise
        os.replace(partial, path)
