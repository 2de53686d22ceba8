"""Llama Scope folders: `hyperparams.json` + `checkpoints/final.safetensors`; R1-distill: `config.json` + `sae_weights`.

Source: He et al., arXiv:2410.20526. Codes are in the frame that library uses for inference. With s = sqrt(d_model) /
average activation norm, at the input and at the output: b_enc / s_in, W_dec * s_in / s_out, b_dec / s_out; then, where
`sparsity_include_decoder_norm` (the default), latents in units of unit-norm decoder rows. Facts that are easy to miss:
`jump_relu_threshold` belongs to that frame already, while the `log_jumprelu_threshold` of the R1-distill release is the
logarithm of one in the frame of normalised activations, and is scaled with the rest; b_dec is subtracted from the input
only where `apply_decoder_bias_to_pre_encoder`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saebench_lite.errors import SaebenchError
from saebench_lite.loaders import _fields as fields
from saebench_lite.loading.loader import Loader
from saebench_lite.loading.readers import json_object, read_safetensors, tensor_names
from saebench_lite.loading.untrusted import brief, label
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.transcoder import Transcoder

LAYOUTS = (("hyperparams.json", "checkpoints/final.safetensors"), ("config.json", "sae_weights.safetensors"))
LOG_THRESHOLD = "log_jumprelu_threshold"
NORM = "dataset_average_activation_norm"


def load(path: Path) -> AffineSAE:
    """The SAE or transcoder of a folder, dataset-wide norms folded into the weights."""
    config, weights = next((pair for pair in LAYOUTS if (path / pair[0]).is_file()), LAYOUTS[0])
    cfg, where = json_object(path / config), label(path)
    if fields.flag(cfg, "use_glu_encoder", False, where):
        raise SaebenchError(f"{where}: use_glu_encoder = true is not supported")
    tensors = read_safetensors(path / weights)
    b_enc = fields.vector(tensors, where, "encoder.bias")
    parts = fields.pair(tensors, where, "encoder.weight", "decoder.weight", len(b_enc), linear=True)
    d_in, d_out = parts["W_enc"].shape[0], parts["W_dec"].shape[1]
    s_in, s_out = (_scale(cfg, tensors, side, d, where) for side, d in (("in", d_in), ("out", d_out)))
    parts |= {"b_enc": b_enc / s_in, "W_dec": parts["W_dec"] * (s_in / s_out)}
    if "decoder.bias" in tensors:
        parts["b_dec"] = fields.vector(tensors, where, "decoder.bias") / s_out
    unit = fields.flag(cfg, "sparsity_include_decoder_norm", True, where)
    parts = fields.unit_decoder(parts) if unit else parts
    activation = _activation(cfg, tensors, s_out if unit else s_in, where)
    if activation["activation"] == "jumprelu":
        activation["threshold"] = fields.spread(activation["threshold"], len(b_enc), where)
    subtract = fields.flag(cfg, "apply_decoder_bias_to_pre_encoder", False, where)
    kind = Transcoder if _is_transcoder(cfg) else AffineSAE
    meta = _meta(cfg, activation["activation"], s_in, s_out)
    return kind(**parts, **activation, subtract_b_dec=subtract, meta=meta)


def recognise(path: Path) -> bool:
    """Whether the folder holds one of the two layouts, by file names and names of tensors."""
    return any(
        (path / config).is_file() and {"encoder.weight", "decoder.weight"} <= tensor_names(path / weights)
        for config, weights in LAYOUTS
    )


def _scale(cfg: dict[str, Any], tensors: dict[str, Tensor], side: str, d: int, where: str) -> float:
    """sqrt(d) / average norm of activations at one side; 1 where the release is not normalised by the data set."""
    if cfg.get("norm_activation", "dataset-wise") in ("inference", "no-norm", "none"):
        return 1.0
    if cfg.get("norm_activation", "dataset-wise") != "dataset-wise":
        raise SaebenchError(f"{where}: norm_activation {brief(cfg['norm_activation'])} is not supported")
    norm = fields.number(fields.section(cfg, NORM), side)
    stored = tensors.get(f"{NORM}.{cfg.get(f'hook_point_{side}')}")
    if norm is None and stored is not None and stored.numel() == 1:
        norm = stored.float().item()
    if norm is None or not 0 < norm < float("inf"):
        raise SaebenchError(f"{where} has no {NORM} for its {side}put; without it the scale of activations is unknown")
    return d**0.5 / norm


def _activation(cfg: dict[str, Any], tensors: dict[str, Tensor], scale: float, where: str) -> dict[str, Any]:
    """The activation function, its threshold in the frame of the codes; `scale` brings normalised codes there."""
    if LOG_THRESHOLD in tensors:
        return {"activation": "jumprelu", "threshold": fields.take(tensors, where, LOG_THRESHOLD).exp() / scale}
    value, name = fields.number(cfg, "jump_relu_threshold"), cfg.get("act_fn", "jumprelu")
    if value is not None and (name == "jumprelu" or (name == "topk" and value > 0)):
        return {"activation": "jumprelu", "threshold": torch.tensor(float(value))}
    if name == "topk":
        return {"activation": "topk", "k": fields.whole(cfg, "top_k")}
    if name == "relu":
        return {"activation": "relu"}
    raise SaebenchError(f"{where}: act_fn {brief(name)} without a threshold is not supported")


def _is_transcoder(cfg: dict[str, Any]) -> bool:
    out = fields.text(cfg, "hook_point_out")
    return out is not None and out != fields.text(cfg, "hook_point_in")


def _meta(cfg: dict[str, Any], activation: str, s_in: float, s_out: float) -> dict[str, Any]:
    hook = fields.text(cfg, "hook_point_in")
    scalar = fields.number(cfg, "jump_relu_threshold") is not None
    threshold = fields.ONE_THRESHOLD if scalar else fields.THRESHOLD
    return fields.meta(
        format="llama_scope",
        architecture=activation,
        inference={"topk": fields.TOPK, "relu": fields.RELU}.get(activation, threshold),
        normalize=f"input times {s_in:.6g}, output divided by {s_out:.6g}, folded into the weights",
        hook=hook,
        model=fields.text(cfg, "model_name") or "meta-llama/Llama-3.1-8B",
        published_l0=fields.number(cfg, "top_k"),
        hook_in=hook if _is_transcoder(cfg) else None,
        hook_out=fields.text(cfg, "hook_point_out") if _is_transcoder(cfg) else None,
    )


LOADER = Loader(
    description="Llama Scope folders: hyperparams.json + checkpoints/final.safetensors, and the R1-distill layout",
    load=load,
    recognise=recognise,
    files=tuple(name for layout in LAYOUTS for name in layout),
)
