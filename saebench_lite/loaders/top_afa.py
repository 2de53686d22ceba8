"""top-AFA SAEs: a folder with `top_afa.safetensors` (W_enc, b_enc, W_dec, b_dec) and `top_afa.json` (the share)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from saebench_lite.errors import SaebenchError
from saebench_lite.loaders._save import SavedType, save_folder
from saebench_lite.loading.loader import Loader
from saebench_lite.loading.readers import json_object, read_safetensors, safetensors_header
from saebench_lite.loading.untrusted import brief, label
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.top_afa import TopAFASAE

WEIGHTS, HEADER = "top_afa.safetensors", "top_afa.json"
WAY_OUT = "copy the folder again"
TENSORS = ["W_dec", "W_enc", "b_dec", "b_enc"]


def save(sae: TopAFASAE, folder: Path | str, dtype: SavedType = "float32") -> Path:
    """Writes an SAE, its matrices in `dtype` and biases in float32. Returns the folder.

    SaebenchError for a weight that `dtype` cannot hold; each file appears whole or not at all.
    """
    facts = {"format": "saebench-lite top-AFA", "format_version": 1, "share": sae.share, "meta": sae.meta}
    return save_folder(folder, WEIGHTS, HEADER, facts, {n: sae.tensors[n] for n in TENSORS}, dtype)


def load(path: Path) -> TopAFASAE:
    """Reads a folder written by `save`; SaebenchError in one sentence if it is not one."""
    header = json_object(path / HEADER, WAY_OUT)
    share, meta = header.get("share"), header.get("meta", {})
    if header.get("format_version") != 1 or not isinstance(share, int | float) or not isinstance(meta, dict):
        raise SaebenchError(f"{label(path / HEADER)} is no header of version 1 with a share; save it again")
    if odd := sorted(set(safetensors_header(path / WEIGHTS, WAY_OUT)) ^ set(TENSORS)):
        raise SaebenchError(f"{label(path / WEIGHTS)} must hold {TENSORS} and nothing else; see {brief(odd[0])}")
    tensors: dict[str, Any] = read_safetensors(path / WEIGHTS, WAY_OUT)
    return TopAFASAE(AffineSAE(**tensors, meta=meta), share)


def recognise(path: Path) -> bool:
    """Whether the folder holds a top-AFA header and weights."""
    return (path / HEADER).is_file() and (path / WEIGHTS).is_file()


LOADER = Loader(
    description="top-AFA folders written by train",
    load=load,
    recognise=recognise,
    files=(HEADER, WEIGHTS),
)
