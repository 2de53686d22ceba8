"""dictionary_learning folders, the SAEBench suite among them: `ae.pt` + `config.json`.

Facts that are easy to miss: AutoEncoderTopK and BatchTopKSAE hold the same keys, only `trainer.dict_class` tells them
apart; a BatchTopK is used with its learnt threshold, a TopK with k of each row; JumpReLU does not subtract b_dec from
its input; a trainer may write dict_class AutoEncoder for what its keys show to be an AutoEncoderNew (bias on the
output only). The library's default of folding decoder norms into the encoder is not followed: codes are as stored.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from saebench_lite.errors import SaebenchError
from saebench_lite.loaders import _fields as fields
from saebench_lite.loading.loader import Loader
from saebench_lite.loading.readers import read_torch
from saebench_lite.loading.untrusted import brief, label, listed
from saebench_lite.saes.affine import AffineSAE

WEIGHTS, CONFIG, RESULTS = "ae.pt", "config.json", "eval_results.json"
LINEAR = ("AutoEncoder", "AutoEncoderNew", "AutoEncoderTopK", "BatchTopKSAE", "GatedAutoEncoder")
DIRECT = ("JumpReluAutoEncoder", "MatryoshkaBatchTopKSAE")
INFERENCE = {
    "AutoEncoder": fields.RELU,
    "AutoEncoderNew": fields.RELU,
    "AutoEncoderTopK": fields.TOPK,
    "BatchTopKSAE": fields.ONE_THRESHOLD,
    "MatryoshkaBatchTopKSAE": fields.ONE_THRESHOLD,
    "GatedAutoEncoder": fields.GATED,
    "JumpReluAutoEncoder": fields.THRESHOLD,
}
SITES = {"resid_post": "hook_resid_post", "resid_pre": "hook_resid_pre", "mlp_out": "hook_mlp_out",
         "attn_out": "hook_attn_out", "attention_out": "hook_attn_out"}  # fmt: skip


def load(path: Path) -> AffineSAE:
    """The SAE in its inference form, from a folder with the two files or from the `ae.pt` itself."""
    file = path / WEIGHTS if path.is_dir() else path
    trainer = fields.section(fields.optional_json(file.parent / CONFIG), "trainer")
    tensors = read_torch(file)
    where = label(file)
    kind = _kind(trainer, tensors, where)
    return AffineSAE(
        **_matrices(kind, tensors, where),
        **_rest(kind, tensors, trainer, where),
        meta=_meta(kind, trainer, file.parent),
    )


def recognise(path: Path) -> bool:
    """Whether the path is an `ae.pt`, or a folder that holds one."""
    return (path / WEIGHTS).is_file() or (path.name == WEIGHTS and path.is_file())


def _kind(trainer: dict[str, Any], tensors: dict[str, Any], where: str) -> str:
    kind = fields.text(trainer, "dict_class") or _kind_by_keys(tensors, where)
    if kind == "AutoEncoder" and "decoder.bias" in tensors:
        return "AutoEncoderNew"
    if kind == "AutoEncoder" and "b_dec" in tensors:
        raise SaebenchError(f"{where} holds b_dec, which AutoEncoder has not; mend dict_class in its {CONFIG}")
    if kind not in INFERENCE:
        raise SaebenchError(f"{where}: dict_class {brief(kind)} is not supported; there are {', '.join(INFERENCE)}")
    return kind


def _kind_by_keys(tensors: dict[str, Any], where: str) -> str:
    """The class when there is no config.json, if the keys tell."""
    if "W_enc" in tensors:
        return "MatryoshkaBatchTopKSAE" if "group_sizes" in tensors else "JumpReluAutoEncoder"
    if "r_mag" in tensors:
        return "GatedAutoEncoder"
    if "k" in tensors:
        raise SaebenchError(f"{where} is a TopK or a BatchTopK, which only its {CONFIG} tells; put that file beside it")
    if "b_dec" in tensors:
        raise SaebenchError(f"{where} is a TopK or a BatchTopK from before k was stored; put its {CONFIG} beside it")
    if "encoder.weight" in tensors:
        return "AutoEncoder"
    raise SaebenchError(f"{where} holds no dictionary_learning tensors; it holds {listed(tensors)}")


def _matrices(kind: str, tensors: dict[str, Any], where: str) -> dict[str, Tensor]:
    if kind in DIRECT:
        b_enc = fields.vector(tensors, where, "b_enc")
        names, biases = ("W_enc", "W_dec"), ("b_dec",)
    else:
        b_enc = fields.vector(tensors, where, "gate_bias" if kind == "GatedAutoEncoder" else "encoder.bias")
        names, biases = ("encoder.weight", "decoder.weight"), ("decoder_bias", "decoder.bias", "b_dec", "bias")
    parts = fields.pair(tensors, where, *names, len(b_enc), linear=kind in LINEAR)
    return parts | {"b_enc": b_enc, "b_dec": fields.vector(tensors, where, *biases)}


def _rest(kind: str, tensors: dict[str, Any], trainer: dict[str, Any], where: str) -> dict[str, Any]:
    if kind == "GatedAutoEncoder":
        r_mag, b_mag = fields.vector(tensors, where, "r_mag"), fields.vector(tensors, where, "mag_bias")
        return {"activation": "gated", "r_mag": r_mag, "b_mag": b_mag}
    if kind == "AutoEncoderTopK":
        k = fields.take(tensors, where, "k") if "k" in tensors else None
        if k is not None and k.numel() != 1:
            raise SaebenchError(f"{where}: k has shape {list(k.shape)}, but one number is needed")
        number = int(k) if k is not None else fields.whole(trainer, "k")
        if number is None:
            raise SaebenchError(f"{where} is a TopK without k; write trainer.k into the {CONFIG} beside it")
        return {"activation": "topk", "k": number}
    if INFERENCE[kind] in (fields.ONE_THRESHOLD, fields.THRESHOLD):
        d_sae = len(fields.vector(tensors, where, "b_enc" if kind in DIRECT else "encoder.bias"))
        threshold = fields.spread(fields.take(tensors, where, "threshold"), d_sae, where)
        return {"activation": "jumprelu", "threshold": threshold, "subtract_b_dec": kind != "JumpReluAutoEncoder"}
    return {"activation": "relu", "subtract_b_dec": kind != "AutoEncoderNew"}


def _meta(kind: str, trainer: dict[str, Any], folder: Path) -> dict[str, Any]:
    l0, source = fields.number(fields.optional_json(folder / RESULTS), "l0"), RESULTS
    if l0 is None:
        key = "target_l0" if kind == "JumpReluAutoEncoder" else "k"
        l0, source = fields.number(trainer, key), f"trainer.{key}"
    return fields.meta(
        format="dictionary_learning",
        architecture=kind,
        inference=INFERENCE[kind],
        hook=_hook(trainer),
        model=fields.text(trainer, "lm_name"),
        published_l0=l0,
        published_l0_source=source if l0 is not None else None,
        trainer=fields.text(trainer, "trainer_class"),
    )


def _hook(trainer: dict[str, Any]) -> str | None:
    """The hook of `layer` and `submodule_name` (resid_post_layer_8); the residual stream where only a layer is told."""
    layer, place = fields.whole(trainer, "layer"), fields.text(trainer, "submodule_name")
    site = SITES.get(re.sub(r"_layer_\d+$", "", place)) if place else "hook_resid_post"
    return place if site is None or layer is None else f"blocks.{layer}.{site}"


LOADER = Loader(
    description="dictionary_learning and SAEBench folders: ae.pt + config.json",
    load=load,
    recognise=recognise,
    files=(WEIGHTS, CONFIG, RESULTS),
)
