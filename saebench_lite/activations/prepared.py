"""Tensors that all subjects of a site share and that cost much to make, in the cache beside the activations.

A file is safetensors; its header names the entry (`key`, the name of the file too) and has a checksum of what it holds.
A damaged entry, or one under another name, is made again.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from saebench_lite.files import atomic_path, mark_used
from saebench_lite.progress import warn

Tensors = dict[str, Tensor]


def prepared(path: Path | None, make: Callable[[], Tensors]) -> Tensors:
    """The tensors of an entry on the CPU, or as `make` gives them, which are written then.

    Where the cache cannot be written, as on a full disk, they stay in memory, with a warning. path: of the entry; None
    without a cache.
    """
    if path is not None and (there := _read(path)) is not None:
        return there
    made = make()
    if path is not None:
        try:
            _write(path, made)
        except OSError as error:
            warn(f"the cache cannot be written ({error.strerror}), so {path.name} is made again next time")
    return made


def numbers_digest(x: Tensor) -> str:
    """SHA-256 of the numbers of a tensor in main memory's order, by which entries made from them are named."""
    return hashlib.sha256(x.cpu().contiguous().numpy().tobytes()).hexdigest()


def _write(path: Path, tensors: Tensors) -> None:
    from safetensors.torch import save

    # cloned: safetensors refuses tensors that share memory
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    with atomic_path(path) as partial:
        partial.write_bytes(save(plain, {"key": path.stem, "crc32": _checksum(plain)}))


def _read(path: Path) -> Tensors | None:
    """What a file holds; None if it is absent, damaged or another one (it is removed then)."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
        if about != {"key": path.stem, "crc32": _checksum(tensors)}:
            raise ValueError("header")
        mark_used(path)
        return tensors
    except (SafetensorError, ValueError, OSError):
        path.unlink(missing_ok=True)
        return None


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    """CRC-32 of names, types, shapes and numbers, 8 hex digits."""
    crc = 0
    for name in sorted(tensors):
        t = tensors[name]
        crc = zlib.crc32(f"{name} {t.dtype} {tuple(t.shape)}".encode(), crc)
        crc = zlib.crc32(t.reshape(-1).view(torch.uint8).numpy().data, crc)
    return f"{crc:08x}"
