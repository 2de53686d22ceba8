"""Writes SAELens' inference layout, which SAELens 6 and our own loader read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import torch

from saebench_lite.errors import SaebenchError
from saebench_lite.files import atomic_path, write_text
from saebench_lite.saes.affine import Activation, AffineSAE

ARCHITECTURES: dict[Activation, str] = {"relu": "standard", "topk": "topk", "jumprelu": "jumprelu", "gated": "gated"}


def save(sae: AffineSAE, folder: Path, dtype: Literal["float16", "float32"] = "float32") -> Path:
    """Writes `cfg.json` and `sae_weights.safetensors`; matrices in `dtype`, vectors in float32. Returns the folder.

    A BatchTopK is a JumpReLU with its threshold there, as SAELens exports it. SaebenchError for an activation that
    SAELens does not have, or a weight that `dtype` cannot hold.
    """
    from safetensors.torch import save_file

    if sae.activation not in ARCHITECTURES:
        raise SaebenchError(
            f"SAELens has no layout for activation {sae.activation!r}; there are {', '.join(ARCHITECTURES)}"
        )
    cfg: dict[str, Any] = {
        "architecture": ARCHITECTURES[sae.activation],
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "dtype": dtype,
        "device": "cpu",
        "apply_b_dec_to_input": sae.subtract_b_dec,
        "normalize_activations": sae.normalize,
        "reshape_activations": "none",
        "metadata": _metadata(sae),
    }
    if sae.activation == "topk":
        cfg["k"] = sae.k
        cfg["rescale_acts_by_decoder_norm"] = False
    names = {"b_enc": "b_gate"} if sae.activation == "gated" else {}
    tensors = {}
    for name, t in sae.tensors.items():
        stored = t.to("cpu", getattr(torch, dtype) if t.ndim == 2 else torch.float32).contiguous().clone()
        if not torch.isfinite(stored).all():
            raise SaebenchError(f"tensor {name} reaches {t.abs().max():.3g}, too much for {dtype}; save it as float32")
        tensors[names.get(name, name)] = stored
    with atomic_path(folder / "sae_weights.safetensors") as partial:
        save_file(tensors, partial)
    write_text(folder / "cfg.json", json.dumps(cfg, indent=1, allow_nan=False) + "\n")
    return folder


def _metadata(sae: AffineSAE) -> dict[str, Any]:
    """Facts under SAELens' names, with ours beside them."""
    told = {"model_name": sae.meta.get("model"), "hook_name": sae.meta.get("hook")}
    recipe = sae.meta.get("recipe")
    if isinstance(recipe, dict):
        trained = "matryoshka_batchtopk" if recipe.get("architecture") == "matryoshka" else recipe.get("architecture")
        if trained in ("batchtopk", "matryoshka_batchtopk"):
            told |= {"training_architecture": trained, "training_architecture_details": {"k": recipe.get("l0")}}
        told["saebench_lite_recipe"] = recipe
    return {key: value for key, value in told.items() if value is not None}
