"""EleutherAI sparsify folders, one a hook point: `cfg.json` + `sae.safetensors`; transcoders too.

Facts that are easy to miss: the folder's name is the hook point; W_dec is stored [d_sae, d_in] while encoder.weight is
[d_sae, d_in] as well; a transcoder does not subtract b_dec from its input; `multi_topk` only changes training; the
skip connection of a transcoder is x W_skip^T.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from saebench_lite.errors import SaebenchError
from saebench_lite.loaders import _fields as fields
from saebench_lite.loading.loader import Loader
from saebench_lite.loading.readers import json_object, read_safetensors
from saebench_lite.loading.untrusted import brief, label
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.transcoder import Transcoder

CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"
INFERENCE = {"topk": fields.TOPK, "groupmax": "maximum of each of k groups"}


def load(path: Path) -> AffineSAE:
    """The SAE or transcoder of a folder."""
    cfg, where = json_object(path / CONFIG), label(path)
    activation = "topk" if "activation" not in cfg else fields.text(cfg, "activation")
    if activation not in INFERENCE:
        raise SaebenchError(
            f"{where}: activation {brief(cfg['activation'])} is not supported; there are topk and groupmax"
        )
    if fields.flag(cfg, "signed", False, where):
        raise SaebenchError(f"{where}: signed = true (the largest by absolute value) is not supported")
    transcode = fields.flag(cfg, "transcode", False, where)
    tensors = read_safetensors(path / WEIGHTS)
    b_enc = fields.vector(tensors, where, "encoder.bias")
    parts = {
        "W_enc": fields.matrix(tensors, where, "encoder.weight", axis=1, size=len(b_enc), transposed=True),
        "W_dec": fields.matrix(tensors, where, "W_dec", axis=0, size=len(b_enc), transposed=False),
        "b_enc": b_enc,
        "b_dec": fields.vector(tensors, where, "b_dec"),
    }
    settings: dict[str, Any] = {"activation": activation, "k": fields.whole(cfg, "k"), "subtract_b_dec": not transcode}
    meta = _meta(cfg, path, activation, transcode)
    if not transcode and "W_skip" not in tensors:
        return AffineSAE(**parts, **settings, meta=meta)
    skip = fields.take(tensors, where, "W_skip").T if "W_skip" in tensors else None
    return Transcoder(**parts, **settings, W_skip=skip, meta=meta)


def recognise(path: Path) -> bool:
    """Whether the folder holds sparsify's two files."""
    return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()


def _meta(cfg: dict[str, Any], path: Path, activation: str, transcode: bool) -> dict[str, Any]:
    name = path.absolute().name
    match = re.fullmatch(r"(?:.*\.)?(?:layers?|h)[._](\d+)(\.mlp|\.self_attn|\.attn|\.attention)?", name)
    site = {None: "hook_resid_post", ".mlp": "hook_mlp_out"}.get(match[2], "hook_attn_out") if match else ""
    hook = f"blocks.{match[1]}.{site}" if match else name
    hook_in = f"input of {name}" if transcode else None
    return fields.meta(
        format="sparsify",
        architecture=("skip_" if cfg.get("skip_connection") else "") + ("transcoder" if transcode else activation),
        inference=INFERENCE[activation],
        hook=hook_in or hook,
        model=fields.text(fields.optional_json(path.parent / "config.json"), "model"),
        published_l0=fields.number(cfg, "k"),
        hook_point=name,
        hook_in=hook_in,
        hook_out=hook if transcode else None,
    )


LOADER = Loader(
    description="sparsify folders of a hook point: cfg.json + sae.safetensors",
    load=load,
    recognise=recognise,
    files=(CONFIG, WEIGHTS, "../config.json"),
)
