"""What the cache folder holds, how large it is, and what is deleted from it.

Activations, preparations and trained controls are made again where they are missing, so a run ends by deleting those
used least recently, down to a limit. Models and data sets that were pulled have to be pulled again, answers of judges
to be paid again: they stay until somebody deletes them.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from saebench_lite.errors import SaebenchError

CacheKind = Literal["activations", "preparations", "controls", "models", "data sets", "judges' answers"]
KINDS: tuple[CacheKind, ...] = get_args(CacheKind)
MADE_AGAIN: tuple[CacheKind, ...] = ("activations", "preparations", "controls")
"What a run makes again by itself."
PLACES: dict[CacheKind, str] = {
    "activations": "acts/*",
    "preparations": "prepared/*",
    "controls": "controls/*",
    "models": "models/*",
    "data sets": "sae-probes-*",
    "judges' answers": "judge/*",
}
"Entries of each kind, below the folder."
DAY = 24 * 3600
LIMIT = "SAEBENCH_LITE_CACHE_LIMIT"
"Environment variable: GiB of MADE_AGAIN that a run leaves, or `none`."
DEFAULT_LIMIT = 20.0
"GiB."
PARTIAL = ".partial-"
"How names of entries begin while they are written (`files.atomic_path`)."


class CacheEntry(NamedTuple):
    """A file or folder of the cache that is kept or deleted as a whole."""

    kind: CacheKind
    path: Path
    size: int
    "Bytes."
    used: float
    "When it was last read or written, seconds since 1970; only the latter where the file system does not keep both."


def cache_entries(root: Path) -> list[CacheEntry]:
    """Entries of a cache folder, the largest first; what else lies there is nobody's business."""
    found = [_entry(kind, path) for kind in KINDS for path in sorted(root.glob(PLACES[kind]))]
    return sorted(found, key=lambda e: (-e.size, e.path))


def clear_cache(
    root: Path, kinds: Collection[CacheKind] = MADE_AGAIN, older_than: float | None = None
) -> list[CacheEntry]:
    """Deletes entries of a cache folder and returns them.

    Args:
        root: the folder.
        kinds: those that are deleted; by default what a run makes again by itself.
        older_than: days without being used, below which an entry stays; None: none stays.
    """
    before = time.time() - (older_than or 0) * DAY
    gone = [e for e in cache_entries(root) if e.kind in kinds and (older_than is None or e.used < before)]
    for entry in gone:
        _delete(entry)
    return gone


def cache_limit() -> int | None:
    """Bytes of activations, preparations and controls that a run leaves in the cache, from LIMIT; None: without limit.

    SaebenchError for a variable that is no size.
    """
    given = os.environ.get(LIMIT) or str(DEFAULT_LIMIT)
    if given == "none":
        return None
    with suppress(ValueError):
        if 0 <= (size := float(given) * 2**30) < float("inf"):
            return int(size)
    raise SaebenchError(f"{LIMIT} is {given!r}; give a number of GiB, 0 at least, or none")


def shrink_cache(root: Path, limit: int, used_before: float | None = None) -> list[CacheEntry]:
    """Deletes what a run makes again, used least recently first, until `limit` bytes are left; the deleted.

    What cannot be deleted, such as a file that another process has open on Windows, stays.

    Args:
        root: the folder.
        limit: bytes.
        used_before: seconds since 1970; an entry used since then stays, whatever the limit. None: none is spared.
    """
    entries = [e for e in cache_entries(root) if e.kind in MADE_AGAIN]
    left, gone = sum(e.size for e in entries), []
    written = time.time() - DAY  # a partial entry older than that is of a run that was killed
    for entry in sorted(entries, key=lambda e: e.used):
        spared = used_before is not None and entry.used >= used_before
        if left <= limit or spared or (entry.path.name.startswith(PARTIAL) and entry.used > written):
            continue
        with suppress(OSError):
            _delete(entry)
            left -= entry.size
            gone.append(entry)
    return gone


def amount(entries: Collection[CacheEntry]) -> str:
    """Size and number of entries: `1.2 GiB in 3 entries`."""
    size = sum(e.size for e in entries)
    text = f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
    return f"{text} in {len(entries)} entr{'y' if len(entries) == 1 else 'ies'}"


def _delete(entry: CacheEntry) -> None:
    if entry.path.is_dir() and not entry.path.is_symlink():
        shutil.rmtree(entry.path)
    else:
        entry.path.unlink(missing_ok=True)  # another process may have cleared it


def _entry(kind: CacheKind, path: Path) -> CacheEntry:
    inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    states = [p.lstat() for p in inside if p.is_symlink() or p.is_file()]
    used = max(max(s.st_atime, s.st_mtime) for s in states or [path.lstat()])
    used = max(used, path.lstat().st_mtime)  # a folder's is set when it is read (`files.mark_used`)
    return CacheEntry(kind, path, sum(s.st_size for s in states), used)
