"""Matching-pursuit SAEs: a folder with `matching_pursuit.safetensors` (W_dec, b_dec) and `matching_pursuit.json`."""

from __future__ import annotations

from pathlib import Path

from saebench_lite.errors import SaebenchError
from saebench_lite.loaders._save import SavedType, save_folder
from saebench_lite.loading.loader import Loader
from saebench_lite.loading.readers import json_object, read_safetensors, safetensors_header
from saebench_lite.loading.untrusted import brief, label
from saebench_lite.saes.matching_pursuit import MatchingPursuitSAE

WEIGHTS, HEADER = "matching_pursuit.safetensors", "matching_pursuit.json"
WAY_OUT = "copy the folder again"
TENSORS = ["W_dec", "b_dec"]


def save(sae: MatchingPursuitSAE, folder: Path | str, dtype: SavedType = "float32") -> Path:
    """Writes an SAE, its dictionary in `dtype` and the bias in float32. Returns the folder.

    SaebenchError for a bias or facts that are not finite; each file appears whole or not at all.
    """
    facts = {"format": "saebench-lite matching pursuit", "format_version": 1, "k": sae.k, "meta": sae.meta}
    return save_folder(folder, WEIGHTS, HEADER, facts, {n: sae.tensors[n] for n in TENSORS}, dtype)


def load(path: Path) -> MatchingPursuitSAE:
    """Reads a folder written by `save`; SaebenchError in one sentence if it is not one."""
    header = json_object(path / HEADER, WAY_OUT)
    k, meta = header.get("k"), header.get("meta", {})
    if header.get("format_version") != 1 or type(k) is not int or not isinstance(meta, dict):
        raise SaebenchError(f"{label(path / HEADER)} is no header of version 1 with a whole k; save it again")
    if odd := sorted(set(safetensors_header(path / WEIGHTS, WAY_OUT)) ^ set(TENSORS)):
        raise SaebenchError(f"{label(path / WEIGHTS)} must hold {TENSORS} and nothing else; see {brief(odd[0])}")
    return MatchingPursuitSAE(**read_safetensors(path / WEIGHTS, WAY_OUT), k=k, meta=meta)


def recognise(path: Path) -> bool:
    """Whether the folder holds a matching-pursuit header and weights."""
    return (path / HEADER).is_file() and (path / WEIGHTS).is_file()


LOADER = Loader(
    description="matching-pursuit folders written by train_sae",
    load=load,
    recognise=recognise,
    files=(HEADER, WEIGHTS),
)
