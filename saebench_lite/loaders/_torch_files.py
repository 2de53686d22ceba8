"""Telling torch files apart by the names they hold, without reading their numbers."""

from __future__ import annotations

import io
import pickletools
import zipfile
from pathlib import Path

from saebench_lite.loading.torch_pickle import OPCODES, PICKLE_LIMIT, ZIP_MAGIC
from saebench_lite.loading.untrusted import children


def only_file(path: Path, *suffixes: str) -> Path | None:
    """The path if it is a file with such a suffix; the one such file of a folder; else None."""
    if path.is_file():
        return path if path.suffix in suffixes else None
    files = [entry for entry in children(path) if entry.suffix in suffixes and entry.is_file()]
    return files[0] if len(files) == 1 else None


def keys_of(file: Path) -> set[str]:
    """The strings of a torch file's pickle (a dict's keys among them); empty if it is none. Nothing is unpickled."""
    try:
        with file.open("rb") as stream:
            data = stream.read(PICKLE_LIMIT)
        if data.startswith(ZIP_MAGIC):
            with zipfile.ZipFile(file) as archive:
                entry = next(e for e in archive.infolist() if e.filename.endswith("data.pkl"))
                with archive.open(entry) as stream:
                    data = stream.read(PICKLE_LIMIT)
        return _strings(io.BytesIO(data))
    except Exception:  # noqa: BLE001  (recognising a file never fails, whatever it holds)
        return set()


def _strings(stream: io.BytesIO) -> set[str]:
    strings: set[str] = set()
    count = 0
    while count < OPCODES and stream.read(1):
        stream.seek(-1, 1)
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                count += 1
                if isinstance(argument, str) and "UNICODE" in opcode.name:
                    strings.add(argument)
                if count >= OPCODES:
                    break
        except ValueError:  # storages of a legacy file follow its pickles
            break
    return strings
