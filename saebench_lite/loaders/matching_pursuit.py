"""Matching-pursuit SAEs: a folder with `matching_pursuit.safetensors` (W_dec, b_dec) and `matching_pursuit.json`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

import torch

from saebench_lite.errors import SaebenchError
from saebench_lite.loading import Loader
from saebench_lite.matching_pursuit import MatchingPursuitSAE
from saebench_lite.record import write_text

STEM = "matching_pursuit"
TENSORS = ["W_dec", "b_dec"]


def save(sae: MatchingPursuitSAE, folder: Path, dtype: Literal["float16", "float32"] = "float32") -> Path:
    """Writes an SAE, its dictionary in `dtype` and the bias in float32. Returns the folder.

    SaebenchError for a bias or facts that are not finite; each file appears whole or not at all.
    """
    from safetensors.torch import save_file

    header = {"format": "saebench-lite matching pursuit", "format_version": 1, "k": sae.k, "meta": sae.meta}
    text = json.dumps(header, indent=1, allow_nan=False) + "\n"
    types = {"W_dec": getattr(torch, dtype), "b_dec": torch.float32}
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / ".partial.safetensors"
    save_file({n: sae.tensors[n].to("cpu", types[n]).contiguous().clone() for n in TENSORS}, partial)
    os.replace(partial, folder / f"{STEM}.safetensors")
    write_text(folder / f"{STEM}.json", text)
    return folder


def load(path: Path) -> MatchingPursuitSAE:
    """Reads a folder written by `save`; SaebenchError in one sentence if it is not one."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        header = json.loads((path / f"{STEM}.json").read_text(encoding="utf-8"))
        tensors = load_file(path / f"{STEM}.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise SaebenchError(f"{path.name}/{STEM}.* cannot be read ({error}); copy the folder again") from error
    if not isinstance(header, dict) or header.get("format_version") != 1 or type(header.get("k")) is not int:
        raise SaebenchError(f"{path.name}/{STEM}.json is no header of version 1 with a whole k; save it again")
    if sorted(tensors) != TENSORS:
        raise SaebenchError(f"{path.name}/{STEM}.safetensors holds {sorted(tensors)}; {TENSORS} are needed")
    return MatchingPursuitSAE(**tensors, k=header["k"], meta=header.get("meta", {}))


def recognise(path: Path) -> bool:
    """Whether the folder holds a matching-pursuit header and weights."""
    return (path / f"{STEM}.json").is_file() and (path / f"{STEM}.safetensors").exists()


LOADER = Loader(claim="matching-pursuit folders written by train_sae", load=load, recognise=recognise)
