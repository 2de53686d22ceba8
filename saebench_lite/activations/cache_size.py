"""What the cache folder holds, how large it is, and what is deleted from it.

Activations, preparations and trained controls are made again where they are missing; models and data sets that were
pulled have to be pulled again.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Collection
from pathlib import Path
from typing import Literal, NamedTuple, get_args

CacheKind = Literal["activations", "preparations", "controls", "models", "data sets"]
KINDS: tuple[CacheKind, ...] = get_args(CacheKind)
MADE_AGAIN: tuple[CacheKind, ...] = ("activations", "preparations", "controls")
"What a run makes again by itself."
PLACES: dict[CacheKind, str] = {
    "activations": "acts/*",
    "preparations": "prepared/*",
    "controls": "controls/*",
    "models": "models/*",
    "data sets": "sae-probes-*",
}
"Entries of each kind, below the folder."
DAY = 24 * 3600


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
        if entry.path.is_dir() and not entry.path.is_symlink():
            shutil.rmtree(entry.path)
        else:
            entry.path.unlink(missing_ok=True)  # another process may have cleared it
    return gone


def _entry(kind: CacheKind, path: Path) -> CacheEntry:
    inside = path.rglob("*") if path.is_dir() and not path.is_symlink() else [path]
    states = [p.lstat() for p in inside if p.is_symlink() or p.is_file()]
    used = max((max(s.st_atime, s.st_mtime) for s in states), default=path.lstat().st_mtime)
    return CacheEntry(kind, path, sum(s.st_size for s in states), used)
