"""How this project's own formats are written: a header of JSON beside safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from saebench_lite.errors import SaebenchError
from saebench_lite.files import atomic_path, write_text

SavedType = Literal["float16", "float32"]
"Of matrices in a file; vectors stay in float32."


def save_folder(
    folder: Path | str,
    weights: str,
    header: str,
    facts: Mapping[str, object],
    tensors: Mapping[str, Tensor],
    dtype: SavedType,
) -> Path:
    """Writes both files, each whole or not at all; returns the folder.

    SaebenchError for a weight that `dtype` cannot hold, ValueError for facts that JSON cannot.

    Args:
        folder: where.
        weights: name of the safetensors file.
        header: name of the JSON file.
        facts: of the header.
        tensors: matrices and vectors.
        dtype: of the matrices.
    """
    from safetensors.torch import save_file

    folder, text, stored = Path(folder), json.dumps(facts, indent=1, allow_nan=False) + "\n", {}
    for name, t in tensors.items():
        stored[name] = t.to("cpu", getattr(torch, dtype) if t.ndim == 2 else torch.float32).contiguous().clone()
        if not torch.isfinite(stored[name]).all():
            raise SaebenchError(f"tensor {name} reaches {t.abs().max():.3g}, too much for {dtype}; save it as float32")
    with atomic_path(folder / weights) as partial:
        save_file(stored, partial)
    write_text(folder / header, text)
    return folder
