"""Hostile archives and pickles: each function replaces a file by one that asks for code, memory or another folder."""

from __future__ import annotations

import io
import pickle
import random
import struct
import zipfile
from pathlib import Path

import torch


class Foreign:
    """Runs code when it is unpickled the usual way: makes the file `sentinel`."""

    sentinel = ""

    def __reduce__(self):
        return (open, (self.sentinel, "w"))


def foreign_pickle(file: Path, rng: random.Random) -> None:
    payload = {"encoder.weight": Foreign(), "ae": 1}
    kind = rng.randrange(4)
    if kind == 0:
        file.write_bytes(pickle.dumps(payload))
    elif kind == 1:
        torch.save(payload, file)
    elif kind == 2:
        torch.save(payload, file, _use_new_zipfile_serialization=False)
    else:
        names = zip_entries(file)
        pickled = next(n for n in names if n.endswith("data.pkl"))
        rewrite(file, names | {pickled: pickle.dumps(payload, protocol=2)})


def hostile_pickle(file: Path, rng: random.Random) -> None:
    """Pickles that ask for memory or for depth instead of code."""
    memo = b"\x80\x02}r\xff\xff\xff\x7f."
    deep = b"\x80\x02}" + b"(" * 100_000 + b"t" * 100_000 + b"."
    nested = b"\x80\x02}N" + b"\x85" * 15_000 + b"K\x01s."
    endless = b"\x80\x02}" + b"N0" * 200_000 + b"."
    numeral = b"\x80\x02}L" + b"9" * 10_000 + b"L\n0."
    replacement = rng.choice((memo, deep, nested, endless, numeral, b"\x80\x02]q\x00h\x00a.", b"\x80\x02K\x01."))
    names = zip_entries(file)
    rewrite(file, names | {next(n for n in names if n.endswith("data.pkl")): replacement})


def longer_storage(file: Path, rng: random.Random) -> None:
    """A storage or a view that claims more numbers than its record has."""
    names = zip_entries(file)
    pickled = next(n for n in names if n.endswith("data.pkl"))
    data = names[pickled]
    places = [i for i in range(len(data) - 1) if data[i : i + 1] == b"K"]
    at = rng.choice(places)
    description = struct.pack("<i", rng.choice((2**20, 2**31 - 1, -1)))
    rewrite(file, names | {pickled: data[:at] + b"J" + description + data[at + 2 :]})


def zip_entries(file: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(file) as archive:
            return {i.filename: archive.read(i) for i in archive.infolist()}
    except zipfile.BadZipFile:
        raise ValueError("no zip") from None


def rewrite(file: Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


def traversal(file: Path, rng: random.Random) -> None:
    names = zip_entries(file)
    bad = rng.choice(("../../evil.npy", "/evil.npy", "a/../../evil", "..\\evil.npy", "C:evil.npy"))
    rewrite(file, {bad: b"x", **names} if rng.random() < 0.5 else {bad: names.pop(rng.choice(sorted(names))), **names})


def bomb(file: Path, rng: random.Random) -> None:
    """Thirty-two million zeros in a few thousand bytes."""
    names = zip_entries(file)
    rewrite(file, names | {rng.choice([*names, "W_enc.npy"]): bytes(2**25)}, zipfile.ZIP_DEFLATED)


def compressed(file: Path, rng: random.Random) -> None:
    rewrite(file, zip_entries(file), rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)))


def crowd(file: Path, rng: random.Random) -> None:
    rewrite(file, zip_entries(file) | {f"a{i}.npy": b"" for i in range(5000)})


def zip_fields(file: Path, rng: random.Random) -> None:
    """Wrong sizes, flags and methods in the directory of the archive."""
    data = bytearray(file.read_bytes())
    starts = [i for i in range(len(data) - 46) if data[i : i + 4] == b"PK\x01\x02"]
    if not starts:
        raise ValueError("no zip")
    at = rng.choice(starts)
    offset = rng.choice((8, 10, 20, 24, 28, 42))
    data[at + offset : at + offset + 4] = struct.pack("<I", rng.choice((0, 1, 99, 2**31 - 1, 2**32 - 2)))
    file.write_bytes(bytes(data))


def npy_header(file: Path, rng: random.Random) -> None:
    """A shape, an order or a dtype that the array does not have; pickled objects among them."""
    names = zip_entries(file)
    chosen = rng.choice(sorted(names))
    buffer = io.BytesIO()
    shape = rng.choice(((2**40,), (2**31, 2**31), (0, 2**62), (-1,), (3,), (True,), ("a",), (10**30,)))
    descr = rng.choice(("<f4", "|O", "<f8", "<c8", "|S9", "<M8[s]", ">f4", "|V4", "no"))
    header = {"descr": descr, "fortran_order": rng.choice((True, False, 1)), "shape": shape}
    text = repr(header).encode() + b"\n" if rng.random() < 0.9 else b"__import__('os').system('true')\n"
    buffer.write(b"\x93NUMPY" + bytes([rng.choice((1, 1, 1, 2, 9)), 0]) + struct.pack("<H", len(text)) + text)
    body = pickle.dumps(Foreign()) if descr == "|O" else names[chosen][128:]
    rewrite(file, names | {chosen: buffer.getvalue() + body})
