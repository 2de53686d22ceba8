"""One line of the table, and what all comparisons read: the model, the SAEs, the peers' files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from saebench_lite.models.language_model import LanguageModel
from saebench_lite.models.tokens import TokenBatch
from saebench_lite.saes.affine import AffineSAE

HOOK = "blocks.2.hook_resid_post"
SAES = ("topk", "relu_l1")


class Row(NamedTuple):
    """One comparison. `tolerance` is on the absolute difference; None: the definitions differ, `note` says how."""

    part: str
    sae: str
    metric: str
    peer: float
    ours: float
    tolerance: float | None
    note: str = ""

    @property
    def agrees(self) -> bool:
        return self.tolerance is None or abs(self.peer - self.ours) <= self.tolerance


def load_sae(folder: Path) -> AffineSAE:
    """An SAE of the fixture: (x - b_dec) W_enc + b_enc, ReLU or top k."""
    meta = json.loads((folder / "meta.json").read_text())
    tensors: dict[str, Any] = {
        n: t for n, t in load_file(folder / "sae.safetensors").items() if n in ("W_enc", "W_dec", "b_enc", "b_dec")
    }
    k = meta.get("k")
    return AffineSAE(**tensors, activation="topk" if k else "relu", k=k)


def batches(lm: LanguageModel, ids: Tensor, mask: Tensor | None = None, size: int = 16) -> list[TokenBatch]:
    """Batches of rows of token ids [n, L], special tokens marked; all positions attended unless a mask is given."""
    ids = ids.long()
    attention = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
    real = attention & ~torch.isin(ids, lm.special)
    parts = zip(ids.split(size), attention.split(size), real.split(size), strict=True)
    return [TokenBatch(*part) for part in parts]


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def flat(value: Any) -> dict[str, float]:
    """All numbers of a nested JSON object by their last key."""
    found: dict[str, float] = {}
    for key, item in value.items():
        found |= flat(item) if isinstance(item, dict) else {key: item} if isinstance(item, int | float) else {}
    return found
