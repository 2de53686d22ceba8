"""What a file of torch.save would do, found out without doing it.

The pickle inside is walked twice before torch sees it: opcode by opcode (their number and memo indices are bounded),
then by an unpickler that knows only the names a state dict needs and builds stand-ins, which check that each storage
is as large as it claims and each view stays inside its storage. Releases of torch before 2.9 read past a record that is
shorter than its claim.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from saebench_lite.errors import SaebenchError
from saebench_lite.loading.untrusted import brief, check_total, label, members

ZIP_MAGIC = b"PK\x03\x04"


PICKLE_LIMIT = 4 * 2**20
"Bytes of a pickle without its storages."


OPCODES = 20_000
"Pickle operations; a state dict needs some thirty a tensor."


STORAGES = {
    "DoubleStorage": 8, "FloatStorage": 4, "HalfStorage": 2, "BFloat16Storage": 2, "LongStorage": 8, "IntStorage": 4,
    "ShortStorage": 2, "CharStorage": 1, "ByteStorage": 1, "BoolStorage": 1,
}  # fmt: skip


class _Kind(NamedTuple):
    """Stands for a storage class."""

    itemsize: int


class _Storage(NamedTuple):
    """Stands for a storage."""

    numel: int
    itemsize: int


def check(path: Path) -> None:
    """SaebenchError if the file is not a plain state dict, or claims more than it holds; parsers' own errors too."""
    check_total(path, path.stat().st_size)
    with path.open("rb") as file:
        head = file.read(PICKLE_LIMIT)
    if head.startswith(ZIP_MAGIC):
        _check_zip(path)
    else:
        _check_legacy(path, head)


def _check_zip(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = members(path, archive)
        if packed := [e.filename for e in entries if e.compress_type != zipfile.ZIP_STORED]:
            raise SaebenchError(
                f"{label(path)} has a compressed entry {brief(packed[0])}, which torch.save never writes;"
                " do not trust it"
            )
        if sum(e.file_size for e in entries) > path.stat().st_size:
            raise SaebenchError(f"{label(path)} has entries that overlap; do not trust it")
        pickles = [e for e in entries if e.filename.endswith("data.pkl")]
        if len(pickles) != 1:
            raise SaebenchError(f"{label(path)} is an archive with {len(pickles)} data.pkl; torch.save writes one")
        if pickles[0].file_size > PICKLE_LIMIT:
            raise SaebenchError(f"{label(path)} has a data.pkl of {pickles[0].file_size} bytes; do not trust it")
        root = pickles[0].filename.removesuffix("data.pkl")
        sizes = {e.filename: e.file_size for e in entries}

        def description(key: str, size: int) -> None:
            have = sizes.get(f"{root}data/{key}", -1)
            if have != size:
                there = f"{have} are there" if have >= 0 else "there is none"
                raise SaebenchError(f"{label(path)} claims {size} bytes for storage {brief(key)}, but {there}")

        _walk(path, io.BytesIO(archive.read(pickles[0])), description)


def _check_legacy(path: Path, head: bytes) -> None:
    """A file from before torch 1.6: five pickles (magic, protocol, system, object, storage keys), then the storages."""
    claims: dict[str, int] = {}
    stream = io.BytesIO(head)
    for _ in range(5):
        _walk(path, stream, claims.__setitem__)
    room = path.stat().st_size - stream.tell()
    if sum(claims.values()) > room:
        raise SaebenchError(f"{label(path)} claims {sum(claims.values())} bytes of storages and has {room}")


def _walk(path: Path, stream: io.BytesIO, description: Callable[[str, int], None]) -> None:
    """Checks the next pickle of the stream; `claim(key, bytes)` is told of every storage."""
    start = stream.tell()
    for number, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if number >= OPCODES:
            raise SaebenchError(f"{label(path)} has over {OPCODES} pickle operations; it is no state dict")
        if "PUT" in opcode.name and isinstance(argument, int) and argument > OPCODES:
            raise SaebenchError(f"{label(path)} has a pickle that asks for {argument} memo places; do not trust it")
    end = stream.tell()
    stream.seek(start)
    _Walker(path, io.BytesIO(stream.read(end - start)), description).load()


class _Walker(pickle.Unpickler):
    """Builds stand-ins for tensors; knows no other names than those a state dict needs."""

    def __init__(self, path: Path, stream: io.BytesIO, description: Callable[[str, int], None]) -> None:
        super().__init__(stream)
        self._path, self._claim = path, description

    def find_class(self, module: str, name: str, /) -> object:
        if module in ("torch", "torch.storage") and name in STORAGES:
            return _Kind(STORAGES[name])
        known = {
            ("torch._utils", "_rebuild_tensor_v2"): lambda *arguments: _view(self._path, *arguments[:4]),
            ("torch._utils", "_rebuild_parameter"): lambda *arguments: arguments[0],
            ("collections", "OrderedDict"): OrderedDict,
            ("torch", "Size"): tuple,
        }
        if (module, name) not in known:
            raise SaebenchError(
                f"{label(self._path)} is a pickle that asks for {brief(f'{module}.{name}')}, which no state dict needs;"
                " nothing of it was run, and it should not be trusted"
            )
        return known[module, name]

    def persistent_load(self, pid: Iterable[object], /) -> object:
        tag, kind, key, _, numel, *_ = pid
        if tag != "storage" or not isinstance(kind, _Kind) or type(numel) is not int or numel < 0:
            raise SaebenchError(f"{label(self._path)} has a storage record that is none; copy it again")
        self._claim(str(key), numel * kind.itemsize)
        return _Storage(numel, kind.itemsize)


def _view(path: Path, storage: _Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> _Storage:
    """Refuses a tensor that is larger than its storage or reaches beyond it."""
    counts = [offset, *size, *stride]
    if any(type(n) is not int or n < 0 for n in counts) or len(size) != len(stride):
        raise SaebenchError(f"{label(path)} has a tensor of size {brief(size)} and stride {brief(stride)}")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if math.prod(size) > storage.numel or (math.prod(size) and last >= storage.numel):
        raise SaebenchError(
            f"{label(path)} has a tensor of size {brief(size)} over a storage of {storage.numel} numbers;"
            " copy it again, or do not trust it"
        )
    return storage
