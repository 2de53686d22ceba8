"""SAELens folders: `cfg.json` + `sae_weights.safetensors`, releases 5 and 6, exports and training checkpoints.

Facts that are easy to miss: `apply_b_dec_to_input` is on by default; BatchTopK and Matryoshka are exported under the
architecture name "jumprelu"; a checkpoint of their training keeps one scalar `topk_threshold` and unfolded decoder
norms; version 5 tells a TopK only by `activation_fn_str`; `expected_average_only_in` scales nothing at inference.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saebench_lite.errors import SaebenchError
from saebench_lite.loading import Loader
from saebench_lite.sae import Activation, AffineSAE, Normalisation

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
NORMALISATIONS: dict[str, Normalisation] = {
    "none": "none",
    "expected_average_only_in": "none",
    "layer_norm": "layer_norm",
    "constant_norm_rescale": "constant_norm_rescale",
}
ACTIVATIONS: dict[str, Activation] = {
    "standard": "relu",
    "topk": "topk",
    "jumprelu": "jumprelu",
    "gated": "gated",
    "batchtopk": "jumprelu",
    "matryoshka_batchtopk": "jumprelu",
}


def load(path: Path) -> AffineSAE:
    """The SAE in its inference form; SaebenchError with one sentence for what is missing or not supported."""
    cfg = _config(path / CONFIG)
    architecture = _architecture(cfg)
    normalize = str(cfg.get("normalize_activations") or "none")
    if normalize not in NORMALISATIONS:
        raise SaebenchError(f"{path.name}: normalize_activations {normalize!r} is not supported; there are"
                            f" {', '.join(NORMALISATIONS)}")  # fmt: skip
    for key in ("finetuning_scaling_factor", "hook_head_index"):
        if cfg.get(key) not in (None, False, "none"):
            raise SaebenchError(f"{path.name}: {key} = {cfg[key]!r} is not supported; export the SAE without it")
    if cfg.get("reshape_activations") not in (None, "none"):
        raise SaebenchError(f"{path.name}: reshape_activations = {cfg['reshape_activations']!r} is not supported")
    tensors = _tensors(path / WEIGHTS)
    if cfg.get("rescale_acts_by_decoder_norm"):
        _fold_decoder_norms(tensors)
    return AffineSAE(
        **_parts(tensors, architecture, path.name),
        activation=ACTIVATIONS[architecture],
        k=_k(cfg) if architecture == "topk" else None,
        subtract_b_dec=bool(cfg.get("apply_b_dec_to_input", True)),
        normalize=NORMALISATIONS[normalize],
        meta=_meta(cfg, architecture, normalize),
    )


def recognise(path: Path) -> bool:
    """Whether the folder holds SAELens's two files."""
    return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()


def _config(path: Path) -> dict[str, Any]:
    try:
        cfg = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SaebenchError(f"{path.parent.name}/{CONFIG} cannot be read ({error})") from error
    if not isinstance(cfg, dict):
        raise SaebenchError(f"{path.parent.name}/{CONFIG} holds no JSON object")
    return cfg


def _architecture(cfg: dict[str, Any]) -> str:
    name = str(cfg.get("architecture", "standard"))
    if name == "standard" and cfg.get("activation_fn_str") == "topk":
        return "topk"
    if name not in ACTIVATIONS:
        raise SaebenchError(f"SAELens architecture {name!r} is not supported; there are {', '.join(ACTIVATIONS)}")
    return name


def _k(cfg: dict[str, Any]) -> int | None:
    kwargs = cfg.get("activation_fn_kwargs") or {}
    k = cfg.get("k", kwargs.get("k") if isinstance(kwargs, dict) else None)
    return int(k) if isinstance(k, int | float) else None


def _tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise SaebenchError(f"{path.parent.name}/{path.name} cannot be read ({error}); copy it again") from error
    for name in ("W_enc", "W_dec"):
        if name not in tensors or tensors[name].ndim != 2:
            raise SaebenchError(
                f"{path.parent.name}/{path.name} lacks the matrix {name}; it holds {', '.join(tensors)}"
            )
    return {name: t.float() for name, t in tensors.items()}


def _fold_decoder_norms(tensors: dict[str, Tensor]) -> None:
    """Latents in units of unit-norm decoder rows: the same outputs with nothing left to rescale."""
    norms = tensors["W_dec"].norm(dim=1)
    if bool((norms == 0).any()):
        raise SaebenchError("W_dec has a row of zeros, which cannot be rescaled by its norm")
    tensors["W_enc"] = tensors["W_enc"] * norms
    tensors["W_dec"] = tensors["W_dec"] / norms[:, None]
    if "b_enc" in tensors:
        tensors["b_enc"] = tensors["b_enc"] * norms


def _parts(tensors: dict[str, Tensor], architecture: str, name: str) -> dict[str, Tensor]:
    wanted = {key: key for key in ("W_enc", "W_dec", "b_enc", "b_dec")}
    if architecture == "gated":
        wanted = wanted | {"b_enc": "b_gate", "b_mag": "b_mag", "r_mag": "r_mag"}
    if missing := [theirs for theirs in wanted.values() if theirs not in tensors]:
        raise SaebenchError(f"{name} ({architecture}) lacks the tensor {missing[0]}; it holds {', '.join(tensors)}")
    parts = {ours: tensors[theirs] for ours, theirs in wanted.items()}
    if ACTIVATIONS[architecture] == "jumprelu":
        threshold = tensors.get("threshold", tensors.get("topk_threshold"))
        if threshold is None:
            raise SaebenchError(f"{name} ({architecture}) has neither threshold nor topk_threshold; export it again")
        parts["threshold"] = threshold.expand(parts["W_enc"].shape[1]) if threshold.ndim == 0 else threshold
    return {key: t.to(torch.float32) for key, t in parts.items()}


def _meta(cfg: dict[str, Any], architecture: str, normalize: str) -> dict[str, Any]:
    metadata = cfg.get("metadata") if isinstance(cfg.get("metadata"), dict) else {}
    assert isinstance(metadata, dict)
    return {
        "format": "sae_lens",
        "architecture": metadata.get("training_architecture") or architecture,
        "hook": metadata.get("hook_name") or cfg.get("hook_name"),
        "model": metadata.get("model_name") or cfg.get("model_name"),
        "normalize_activations": normalize,
        "version": metadata.get("sae_lens_version") or cfg.get("sae_lens_training_version"),
    }


LOADER = Loader(claim="SAELens folders: cfg.json + sae_weights.safetensors", load=load, recognise=recognise)
