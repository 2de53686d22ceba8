"""SAELens folders: `cfg.json` + `sae_weights.safetensors`, releases 5 and 6, exports and training checkpoints.

Facts that are easy to miss: `apply_b_dec_to_input` is on by default; BatchTopK and Matryoshka are exported under the
architecture name "jumprelu"; a checkpoint of their training keeps one scalar `topk_threshold` and unfolded decoder
norms; version 5 tells a TopK only by `activation_fn_str`; `expected_average_only_in` scales nothing at inference.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from saebench_lite.errors import SaebenchError
from saebench_lite.loaders import _fields as fields
from saebench_lite.loaders._sae_lens_save import save
from saebench_lite.loading.loader import Loader
from saebench_lite.loading.readers import json_object, read_safetensors
from saebench_lite.loading.untrusted import brief, label, listed
from saebench_lite.saes.affine import Activation, AffineSAE, Normalisation

__all__ = ["LOADER", "save"]

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
INFERENCE = {
    "relu": fields.RELU,
    "topk": fields.TOPK,
    "jumprelu": fields.THRESHOLD,
    "gated": fields.GATED,
}


def load(path: Path) -> AffineSAE:
    """The SAE in its inference form; SaebenchError with one sentence for what is missing or not supported."""
    cfg, where = json_object(path / CONFIG), label(path)
    architecture = _architecture(cfg, where)
    normalize = str(cfg.get("normalize_activations") or "none")
    if normalize not in NORMALISATIONS:
        raise SaebenchError(
            f"{where}: normalize_activations {brief(normalize)} is not supported; there are {', '.join(NORMALISATIONS)}"
        )
    for part in (cfg, fields.section(cfg, "metadata")):
        for key in ("finetuning_scaling_factor", "hook_head_index", "hook_point_head_index"):
            value = part.get(key)
            if value is not None and value is not False and value != "none":  # 0 is the first head
                raise SaebenchError(f"{where}: {key} = {brief(value)} is not supported; export the SAE without it")
    if cfg.get("reshape_activations") not in (None, "none"):
        raise SaebenchError(f"{where}: reshape_activations = {brief(cfg['reshape_activations'])} is not supported")
    parts = _parts(read_safetensors(path / WEIGHTS), architecture, where)
    if fields.flag(cfg, "rescale_acts_by_decoder_norm", False, where):
        parts = fields.unit_decoder(parts)
    return AffineSAE(
        **parts,
        activation=ACTIVATIONS[architecture],
        k=_k(cfg) if architecture == "topk" else None,
        subtract_b_dec=fields.flag(cfg, "apply_b_dec_to_input", True, where),
        normalize=NORMALISATIONS[normalize],
        meta=_meta(cfg, architecture, normalize, path),
    )


def recognise(path: Path) -> bool:
    """Whether the folder holds SAELens's two files."""
    return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()


def _architecture(cfg: dict[str, Any], where: str) -> str:
    """The architecture, which for a standard SAE its activation function tells; what is not known is refused."""
    name = "standard" if cfg.get("architecture") is None else cfg["architecture"]
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise SaebenchError(f"SAELens architecture {brief(name)} is not supported; there are {', '.join(ACTIVATIONS)}")
    told = {key: cfg[key] for key in ("activation_fn_str", "activation_fn") if cfg.get(key) is not None}
    for key, value in told.items():
        if value not in ("relu", "topk", *(["jumprelu"] if ACTIVATIONS[name] == "jumprelu" else [])):
            raise SaebenchError(f"{where}: {key} = {brief(value)} is not supported; there are relu and topk")
    if len(set(told.values())) > 1:
        raise SaebenchError(f"{where}: activation_fn_str and activation_fn differ ({brief(told)}); keep the right one")
    if "topk" not in told.values() or ACTIVATIONS[name] == "jumprelu":  # a BatchTopK is exported with its threshold
        return name
    if name not in ("standard", "topk"):
        raise SaebenchError(f"{where}: architecture {name} with activation topk is not supported; export it again")
    return "topk"


def _k(cfg: dict[str, Any]) -> int | None:
    return fields.whole(cfg if "k" in cfg else fields.section(cfg, "activation_fn_kwargs"), "k")


def _parts(tensors: dict[str, Tensor], architecture: str, where: str) -> dict[str, Tensor]:
    for name in ("W_enc", "W_dec"):
        if name not in tensors or tensors[name].ndim != 2:
            raise SaebenchError(f"{where} lacks the matrix {name}; it holds {listed(tensors)}")
    parts = {key: fields.take(tensors, where, key) for key in ("W_enc", "W_dec", "b_dec")}
    if architecture == "gated":
        names = {"b_enc": "b_gate", "b_mag": "b_mag", "r_mag": "r_mag"}
        return parts | {ours: fields.vector(tensors, where, theirs) for ours, theirs in names.items()}
    parts["b_enc"] = fields.vector(tensors, where, "b_enc")
    if ACTIVATIONS[architecture] == "jumprelu":
        threshold = tensors.get("threshold", tensors.get("topk_threshold"))
        if threshold is None:
            raise SaebenchError(f"{where} ({architecture}) has neither threshold nor topk_threshold; export it again")
        parts["threshold"] = fields.spread(threshold.float(), parts["W_enc"].shape[1], where)
    have, rows = len(parts["b_enc"]), len(parts["W_dec"])
    if have != rows:
        raise SaebenchError(f"{where}: b_enc of {have} numbers and W_dec of {rows} rows do not fit; export it again")
    return parts


def _meta(cfg: dict[str, Any], architecture: str, normalize: str, path: Path) -> dict[str, Any]:
    metadata = fields.section(cfg, "metadata")
    trained = fields.text(metadata, "training_architecture") or architecture
    scalar = trained in ("batchtopk", "matryoshka_batchtopk")
    l0 = fields.published_l0(path)
    k = fields.number(fields.section(metadata, "training_architecture_details"), "k")
    return fields.meta(
        format="sae_lens",
        architecture=trained,
        inference=fields.ONE_THRESHOLD if scalar else INFERENCE[ACTIVATIONS[architecture]],
        normalize=normalize,
        hook=fields.text(metadata, "hook_name") or fields.text(cfg, "hook_name", "hook_point"),
        model=fields.text(metadata, "model_name") or fields.text(cfg, "model_name"),
        published_l0=l0 if l0 is not None else k if scalar else _k(cfg) if architecture == "topk" else None,
        prepend_bos=next((told for c in (metadata, cfg) if isinstance(told := c.get("prepend_bos"), bool)), None),
        version=fields.text(metadata, "sae_lens_version") or fields.text(cfg, "sae_lens_training_version"),
    )


LOADER = Loader(
    description="SAELens folders: cfg.json + sae_weights.safetensors",
    load=load,
    recognise=recognise,
    files=(CONFIG, WEIGHTS),
)
