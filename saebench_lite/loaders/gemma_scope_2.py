"""Gemma Scope 2 folders: `params.safetensors`, with a `config.json` that some folders lack.

JumpReLU without subtraction of b_dec from the input; names in lower case. Facts that are easy to miss: where there is
no config, folder names alone tell site, layer and a sparsity label; a transcoder's affine skip is x @ W, not
transposed; it reads the output of the norm before the MLP. Crosscoders and cross-layer transcoders are not supported.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from saebench_lite.errors import SaebenchError
from saebench_lite.loaders import _fields as fields
from saebench_lite.loading.loader import Loader
from saebench_lite.loading.readers import read_safetensors
from saebench_lite.loading.untrusted import label
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.transcoder import Transcoder

WEIGHTS, CONFIG = "params.safetensors", "config.json"
SKIP = "affine_skip_connection"
SITES = {
    "resid_post": "model.layers.{}.output",
    "attn_out": "model.layers.{}.self_attn.o_proj.input",
    "mlp_out": "model.layers.{}.post_feedforward_layernorm.output",
    "transcoder": "model.layers.{}.pre_feedforward_layernorm.output",
}


def load(path: Path) -> AffineSAE:
    """The SAE or transcoder, from a folder with the file or from the file itself."""
    file = path / WEIGHTS if path.is_dir() else path
    where, cfg = label(file), fields.optional_json(file.parent / CONFIG)
    tensors = read_safetensors(file)
    b_enc = fields.take(tensors, where, "b_enc")
    if b_enc.ndim != 1:
        raise SaebenchError(f"{where} has b_enc of shape {list(b_enc.shape)}; only SAEs of one layer are supported")
    parts = fields.pair(tensors, where, "w_enc", "w_dec", len(b_enc), linear=False)
    parts |= {"b_enc": b_enc, "b_dec": fields.vector(tensors, where, "b_dec")}
    parts["threshold"] = fields.spread(fields.take(tensors, where, "threshold"), len(b_enc), where)
    meta = _meta(cfg, file)
    if meta.get("hook_out") is None and SKIP not in tensors:
        return AffineSAE(**parts, activation="jumprelu", subtract_b_dec=False, meta=meta)
    skip = fields.take(tensors, where, SKIP) if SKIP in tensors else None
    return Transcoder(**parts, W_skip=skip, activation="jumprelu", subtract_b_dec=False, meta=meta)


def recognise(path: Path) -> bool:
    """Whether the path is a `params.safetensors`, or a folder that holds one."""
    return (path / WEIGHTS).is_file() or (path.name == WEIGHTS and path.is_file())


def hook_name(hf: str) -> str:
    """The hook of `model.layers.3.output` and the like: a block's site, a module path, or the name as it is."""
    if match := re.fullmatch(r"model\.layers\.(\d+)\.output", hf):
        return f"blocks.{match[1]}.hook_resid_post"
    if match := re.fullmatch(r"model\.layers\.(\d+)\.post_feedforward_layernorm\.output", hf):
        return f"blocks.{match[1]}.hook_mlp_out"
    return hf.removesuffix(".output")


def _meta(cfg: dict[str, Any], file: Path) -> dict[str, Any]:
    release = fields.from_path(file, r"gemma-scope-2-(\d+[mb])-(pt|it)")
    folder = fields.from_path(file, r"^layer_(\d+)_width_(\w+?)_l0_(\w+)$")
    site = fields.from_path(file, r"^(resid_post|attn_out|mlp_out|transcoder)(?:_all)?$")
    hook_in, hook_out = fields.text(cfg, "hf_hook_point_in"), fields.text(cfg, "hf_hook_point_out")
    if hook_in is None and site and folder:
        hook_in = SITES[site[1].lower()].format(folder[1])
        hook_out = SITES["mlp_out"].format(folder[1]) if site[1].lower() == "transcoder" else hook_in
    transcoder = hook_in is not None and hook_out is not None and hook_in != hook_out
    model = fields.text(cfg, "model_name")
    if model is None and release:
        model = f"google/gemma-3-{release[1]}" + ("" if release.groups() == ("270m", "pt") else f"-{release[2]}")
    return fields.meta(
        format="gemma_scope_2",
        architecture="jumprelu",
        inference=fields.THRESHOLD,
        hook=hook_name(hook_in) if hook_in else None,
        model=model,
        published_l0=fields.number(cfg, "l0"),
        layer=int(folder[1]) if folder else None,
        width=folder[2] if folder else None,
        l0_label=folder[3] if folder else None,
        hook_in=hook_name(hook_in) if hook_in and transcoder else None,
        hook_out=hook_name(hook_out) if hook_out and transcoder else None,
    )


LOADER = Loader(
    description="Gemma Scope 2 folders: params.safetensors, config.json where there is one",
    load=load,
    recognise=recognise,
    files=(WEIGHTS, CONFIG),
)
