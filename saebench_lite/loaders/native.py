"""This project's own format: a folder with `sae.safetensors` (AffineSAE's tensors) and `sae.json` (its settings)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

import torch

from saebench_lite.errors import SaebenchError
from saebench_lite.loading import Loader
from saebench_lite.record import write_text
from saebench_lite.sae import AffineSAE

FORMAT = "saebench-lite"
TENSORS = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold", "r_mag", "b_mag")
SETTINGS = ("activation", "k", "subtract_b_dec", "normalize")


def save(sae: AffineSAE, folder: Path, dtype: Literal["float16", "float32"] = "float32") -> Path:
    """Writes an SAE; matrices in `dtype`, vectors (thresholds, biases) always in float32. Returns the folder."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: t.to("cpu", getattr(torch, dtype) if t.ndim == 2 else torch.float32).contiguous()
        for name, t in sae.tensors.items()
    }
    partial = folder / ".partial.safetensors"
    save_file(tensors, partial)
    os.replace(partial, folder / "sae.safetensors")
    header = {"format": FORMAT, "format_version": 1, **sae.settings(), "meta": sae.meta}
    write_text(folder / "sae.json", json.dumps(header, indent=1, allow_nan=False) + "\n")
    return folder


def load(path: Path) -> AffineSAE:
    """Reads a folder written by `save`; SaebenchError in one sentence if it is not one."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    header = _header(path)
    try:
        tensors = load_file(path / "sae.safetensors")
    except (OSError, SafetensorError) as error:
        raise SaebenchError(f"{path.name}/sae.safetensors cannot be read ({error}); copy the folder again") from error
    if unknown := sorted(set(tensors) - set(TENSORS)):
        raise SaebenchError(f"{path.name}/sae.safetensors holds an unknown tensor {unknown[0]!r}")
    if missing := [name for name in ("W_enc", "W_dec") if name not in tensors]:
        raise SaebenchError(f"{path.name}/sae.safetensors lacks the tensor {missing[0]!r}")
    return AffineSAE(**tensors, **{k: header[k] for k in SETTINGS}, meta=header.get("meta", {}))  # type: ignore[arg-type]


def recognise(path: Path) -> bool:
    """Whether the folder holds a native `sae.json`."""
    return (path / "sae.json").is_file() and (path / "sae.safetensors").exists()


def _header(path: Path) -> dict[str, Any]:
    try:
        header = json.loads((path / "sae.json").read_text())
    except (OSError, ValueError) as error:
        raise SaebenchError(f"{path.name}/sae.json cannot be read ({error})") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT or header.get("format_version") != 1:
        raise SaebenchError(f"{path.name}/sae.json is not a {FORMAT} header of version 1")
    if missing := [key for key in SETTINGS if key not in header]:
        raise SaebenchError(f"{path.name}/sae.json lacks {missing[0]!r}")
    return header


LOADER = Loader(claim="folders written by saebench_lite.loaders.native.save", load=load, recognise=recognise)
