"""Activations of a corpus in one file of the cache, or in memory while there is none.

A file is safetensors: `x` [tokens, d] and `offsets` [texts + 1], memory-mapped when read. Its header names the entry
(`key`, the name of the file too), and a checksum covers header and numbers, so that an entry under another name is not
read. What is read is held to the shape, type and number of texts asked for, to offsets that ascend, and to finite
numbers.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from saebench_lite.activations.acts import Acts
from saebench_lite.files import atomic_path, mark_used

NAMES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16"}
HEADER = 512
"Bytes before x, whatever is in the header."
WRITTEN = 1 << 26
"Bytes that go from memory into a file together."
BLOCK = 1 << 22
"Numbers looked at together."


class Entry(NamedTuple):
    """Activations of a corpus at a hook."""

    acts: Acts
    cut: int
    "Texts that were cut to the context."
    asked: int
    "Tokens that there would be if the rule of the site left out special ones alone."
    left_out: int
    "How many of them it left out, as sinks or as first tokens."


class Expected(NamedTuple):
    """What an entry must hold."""

    texts: int
    d: int
    dtype: torch.dtype


def offsets_of(lengths: Tensor) -> Tensor:
    """First row of each text, and the number of rows. lengths [texts] -> [texts + 1]"""
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])


def all_finite(x: Tensor) -> bool:
    """Whether no number of x is NaN or infinite; looks again only where the sum of a block says so."""
    return all(bool(b.float().sum().isfinite() or b.isfinite().all()) for b in x.reshape(-1).split(BLOCK))


def reserve(path: Path, size: int) -> None:
    """A file of `size` bytes that the disk really has; OSError where it has not."""
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
            return
        while size > 0:
            size -= os.write(file.fileno(), bytes(min(size, BLOCK)))


def write_entry(path: Path, entry: Entry) -> None:
    """Writes activations that are in memory, here or on a GPU; OSError where the disk does not take them."""
    x, offsets = entry.acts.x, entry.acts.offsets
    with atomic_path(path) as partial:
        reserve(partial, HEADER + x.nbytes + 8 * len(offsets))
        with partial.open("r+b") as file:
            file.seek(HEADER)
            for part in x.split(max(1, WRITTEN // (x.shape[1] * x.itemsize))):
                file.write(part.cpu().view(torch.uint8).numpy().data)
        form = (x.shape[0], x.shape[1], x.dtype)
        close_entry(partial, entry.cut, entry.asked, entry.left_out, offsets, form)


def close_entry(
    path: Path, cut: int, asked: int, left_out: int, offsets: Tensor, form: tuple[int, int, torch.dtype]
) -> None:
    """Writes offsets, header and checksum into a file that has the numbers.

    Args:
        path: of the file.
        cut: texts that were cut to the context.
        asked: tokens that there would be if the rule of the site left out special ones alone.
        left_out: how many of them it left out.
        offsets: first row of each text, and the number of rows. [texts + 1]
        form: rows and columns of x, and its type.
    """
    tokens, d, dtype = form
    counts = {"texts_cut": cut, "asked": asked, "left_out": left_out}
    about = {"key": path.stem, **{name: str(n) for name, n in counts.items()}}
    header = _header(tokens, d, dtype, len(offsets), about)
    with path.open("r+b") as file:
        file.seek(HEADER + tokens * d * dtype.itemsize)
        file.write(offsets.numpy().astype("<i8").tobytes())
        file.truncate()
    about["crc32"] = _checksum(path, header)
    with path.open("r+b") as file:
        file.write(_header(tokens, d, dtype, len(offsets), about))


def open_entry(path: Path, expected: Expected, *, verify: bool = True) -> Entry | None:
    """The entry in a file; None if absent, damaged or another one (it is removed then).

    Args:
        path: of the file.
        expected: what it must hold.
        verify: whether checksum and numbers are looked at, which reads the whole file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        return None
    try:
        about = _checked(path, expected, verify)
        tensors = load_file(path)
        x, offsets = tensors["x"], tensors["offsets"]
        if len(offsets) != expected.texts + 1 or int(offsets[0]) != 0 or int(offsets[-1]) != len(x):
            raise ValueError("offsets")
        if not (offsets.diff() > 0).all() or (verify and not all_finite(x)):
            raise ValueError("offsets or numbers")
        counts = (int(about[name]) for name in ("texts_cut", "asked", "left_out"))
        mark_used(path)
        return Entry(Acts(x, offsets), *counts)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, OSError):
        path.unlink(missing_ok=True)
        return None


def _checked(path: Path, expected: Expected, verify: bool) -> dict[str, str]:
    """The facts in a header; ValueError (or KeyError, TypeError) where it is not that of the entry expected."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        content = json.loads(file.read(size)) if size == HEADER - 8 else {}
    about = dict(content["__metadata__"])
    x, offsets = content["x"], content["offsets"]
    tokens, d = x["shape"]
    wrong = about.get("key") != path.stem or x["dtype"] != NAMES[expected.dtype] or d != expected.d
    crc = about.pop("crc32")
    header = _header(tokens, d, expected.dtype, offsets["shape"][0], about)
    if wrong or content | {"__metadata__": about} != _parsed(header) or (verify and crc != _checksum(path, header)):
        raise ValueError("header")
    return about


def _header(tokens: int, d: int, dtype: torch.dtype, n_offsets: int, about: Mapping[str, str]) -> bytes:
    """A safetensors header of HEADER bytes.

    Args:
        tokens: rows of x.
        d: columns of x.
        dtype: of x.
        n_offsets: of the texts and the end.
        about: facts of the entry.
    """
    end = tokens * d * dtype.itemsize
    entries = {
        "__metadata__": dict(about),
        "x": {"dtype": NAMES[dtype], "shape": [tokens, d], "data_offsets": [0, end]},
        "offsets": {"dtype": "I64", "shape": [n_offsets], "data_offsets": [end, end + 8 * n_offsets]},
    }
    text = json.dumps(entries).encode().ljust(HEADER - 8)
    return len(text).to_bytes(8, "little") + text


def _parsed(header: bytes) -> dict[str, object]:
    return json.loads(header[8:])


def _checksum(path: Path, header: bytes) -> str:
    """CRC-32 of a header without its checksum and of all that follows the header in a file, 8 hex digits."""
    crc = zlib.crc32(header)
    with path.open("rb") as file:
        file.seek(HEADER)
        while block := file.read(BLOCK):
            crc = zlib.crc32(block, crc)
    return f"{crc:08x}"
