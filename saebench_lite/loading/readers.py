"""The one door through which saved SAEs are read: nothing is run, and nothing is allocated before its size is known.

Every reader checks names, dtypes, shapes and sizes from headers alone, against `limit()` bytes in all, and then reads.
Whatever is wrong with a file comes out as one SaebenchError sentence.
"""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from saebench_lite.errors import SaebenchError, kind_of
from saebench_lite.loading.untrusted import TEXT_LIMIT, brief, check_total, label, members, numbers, reading

YAML_LIMIT, YAML_DEPTH = 2**16, 20


SAFETENSORS_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


TORCH_TYPES = {
    torch.float64, torch.float32, torch.float16, torch.bfloat16,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
}  # fmt: skip


def json_object(path: Path, way_out: str = "copy it again") -> dict[str, object]:
    """A JSON file that holds an object."""
    with reading(path, way_out):
        return _object(path, json.loads(_text(path, TEXT_LIMIT)), "JSON object")


def yaml_object(path: Path) -> dict[str, object]:
    """A YAML file that holds a mapping. Aliases grow without bound and deep nesting takes forever: both are refused."""
    import yaml

    with reading(path):
        text = _text(path, YAML_LIMIT)
        depth = 0
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            kind = type(token).__name__
            depth += ("Start" in kind) - ("End" in kind)
            if kind == "AliasToken" or depth > YAML_DEPTH:
                raise SaebenchError(
                    f"{label(path)} has YAML aliases or over {YAML_DEPTH} levels, which no configuration needs;"
                    " write it out"
                )
        return _object(path, yaml.safe_load(text), "YAML mapping")


def _text(path: Path, most: int) -> str:
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise SaebenchError(f"{label(path)} is over {most} bytes, too much for a configuration; is it the right file?")
    return data.decode("utf-8-sig")


def _object(path: Path, value: object, kind: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise SaebenchError(f"{label(path)} holds no {kind} but {brief(value)}; is it the right file?")
    return value


def tensor_names(path: Path) -> set[str]:
    """Names in a safetensors file, from its header; empty if it has no readable one."""
    from safetensors import safe_open

    if not path.is_file():
        return set()
    try:
        with safe_open(path, "pt") as file:
            return set(file.keys())
    except Exception:  # noqa: BLE001  (recognising a file never fails)
        return set()


def safetensors_header(path: Path, way_out: str = "copy it again") -> dict[str, tuple[str, list[int]]]:
    """Dtype (F32, ...) and shape of each tensor of a safetensors file, held to known dtypes and to the limit."""
    from safetensors import safe_open

    with reading(path, way_out), safe_open(path, "pt") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        header = {name: (piece.get_dtype(), list(piece.get_shape())) for name, piece in slices.items()}
    total = 0
    for name, (dtype, shape) in header.items():
        if dtype not in SAFETENSORS_BYTES:
            raise SaebenchError(
                f"tensor {brief(name)} of {label(path)} holds {dtype} numbers, which no loader reads;"
                " store it as F32, F16 or BF16"
            )
        total += numbers(path, name, shape) * max(4, SAFETENSORS_BYTES[dtype])
    check_total(path, total)
    return header


def read_safetensors(path: Path, way_out: str = "copy it again") -> dict[str, Tensor]:
    """All tensors of a safetensors file, as they are stored."""
    from safetensors.torch import load_file

    safetensors_header(path, way_out)
    with reading(path, way_out):
        return load_file(path)


def read_npz(path: Path) -> dict[str, Tensor]:
    """All arrays of an npz file; object arrays (pickles) are refused."""
    with reading(path), zipfile.ZipFile(path) as archive:
        entries = [e for e in members(path, archive) if e.filename.endswith(".npy")]
        total = 0
        for entry in entries:
            with archive.open(entry) as file:
                total += _npy_size(path, entry, file)
        check_total(path, total)
        out = {}
        for entry in entries:
            with archive.open(entry) as file:
                array = np.lib.format.read_array(file, allow_pickle=False)
            out[entry.filename.removesuffix(".npy")] = torch.from_numpy(np.ascontiguousarray(array))
        return out


def _npy_size(path: Path, entry: zipfile.ZipInfo, file: IO[bytes]) -> int:
    """Bytes of an array in float32, from its header, which must agree with the entry's size."""
    version = np.lib.format.read_magic(file)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if header is None:
        raise SaebenchError(f"array {brief(entry.filename)} of {label(path)} is of npy {version}; save it again")
    shape, _, dtype = header(file)
    if dtype.kind not in "fiub" or dtype.itemsize > 8 or not dtype.isnative:
        raise SaebenchError(
            f"array {brief(entry.filename)} of {label(path)} holds {brief(str(dtype))}, not plain numbers; save floats"
        )
    if any(type(n) is not int or n < 0 for n in shape):
        raise SaebenchError(f"array {brief(entry.filename)} of {label(path)} has shape {brief(shape)}; save it again")
    count = numbers(path, entry.filename, shape)
    if count * dtype.itemsize != entry.file_size - file.tell():
        raise SaebenchError(
            f"array {brief(entry.filename)} of {label(path)} promises {count} numbers but its entry has"
            f" {entry.file_size} bytes; copy it again"
        )
    return count * max(4, dtype.itemsize)


def read_torch(path: Path) -> dict[str, object]:
    """The dict in a file of torch.save: tensors and plain values, with every storage checked before it is made."""
    from saebench_lite.loading import torch_pickle

    with reading(path, "copy it again, or export it as safetensors"):
        torch_pickle.check(path)
        value = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(value, dict):
        raise SaebenchError(f"{label(path)} holds no dict of tensors but {kind_of(value)}; is it a state dict?")
    total = 0
    for name, tensor in value.items():
        if not isinstance(name, str):
            raise SaebenchError(f"{label(path)} has an entry named {brief(name)}; a state dict's names are strings")
        if not isinstance(tensor, Tensor):
            continue
        if tensor.layout != torch.strided or tensor.dtype not in TORCH_TYPES or tensor.device.type != "cpu":
            raise SaebenchError(
                f"tensor {brief(name)} of {label(path)} is {tensor.layout} {tensor.dtype}, which no loader reads;"
                " export it as dense floats"
            )
        total += numbers(path, name, tensor.shape) * max(4, tensor.itemsize)
    check_total(path, total)
    return dict(value)
