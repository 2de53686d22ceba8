"""Transcoders of one MLP as circuit-tracer reads them: `layer_<N>.safetensors`, with YAML files beside it.

y = relu(x W_enc^T + b_enc) W_dec + b_dec, + x W_skip^T where there is one; W_enc and W_dec are both [d_sae, d_model].
They read the input of an MLP after its norm (gain included) and write its output. Facts that are easy to miss: the
input bias is not subtracted; `activation_function.threshold` or `threshold`, where present, makes it a JumpReLU.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from saebench_lite.errors import SaebenchError
from saebench_lite.loaders import _fields as fields
from saebench_lite.loading.loader import Loader
from saebench_lite.loading.readers import read_safetensors, tensor_names, yaml_object
from saebench_lite.loading.untrusted import label, listed
from saebench_lite.saes.transcoder import Transcoder

NAME = r"layer_(\d+)\.safetensors"
NEEDED = {"W_enc", "W_dec", "b_enc", "b_dec"}
THRESHOLDS = ("activation_function.threshold", "threshold")
CONFIG = "config.yaml"


def load(path: Path) -> Transcoder:
    """The transcoder of a file."""
    tensors, where = read_safetensors(path), label(path)
    if unknown := sorted(set(tensors) - NEEDED - {"W_skip", *THRESHOLDS}):
        raise SaebenchError(f"{where} holds tensors that are not understood: {listed(unknown)}")
    b_enc = fields.vector(tensors, where, "b_enc")
    parts: dict[str, Any] = {
        "W_enc": fields.matrix(tensors, where, "W_enc", axis=1, size=len(b_enc), transposed=True),
        "W_dec": fields.matrix(tensors, where, "W_dec", axis=0, size=len(b_enc), transposed=False),
        "b_enc": b_enc,
        "b_dec": fields.vector(tensors, where, "b_dec"),
        "activation": "relu",
    }
    if set(tensors) & set(THRESHOLDS):
        threshold = fields.take(tensors, where, *THRESHOLDS).squeeze()
        parts |= {"activation": "jumprelu", "threshold": fields.spread(threshold, len(b_enc), where)}
    skip = fields.take(tensors, where, "W_skip").T if "W_skip" in tensors else None
    return Transcoder(**parts, W_skip=skip, subtract_b_dec=False, meta=_meta(path, parts["activation"]))


def recognise(path: Path) -> bool:
    """Whether the file has the name and the tensors of a layer's transcoder."""
    return re.fullmatch(NAME, path.name) is not None and path.is_file() and tensor_names(path) >= NEEDED


def _meta(path: Path, activation: str) -> dict[str, Any]:
    beside = path.parent / CONFIG
    cfg = yaml_object(beside) if beside.is_file() else {}
    release = fields.from_path(path, r"qwen3-(\d+(?:\.\d+)?)b-transcoders")
    match = re.search(NAME, path.name)
    block = f"blocks.{int(match[1])}." if match else ""
    hook_in = block + (fields.text(cfg, "feature_input_hook") or "mlp.hook_in")
    return fields.meta(
        format="layer_transcoder",
        architecture=activation,
        inference=fields.RELU if activation == "relu" else fields.THRESHOLD,
        hook=hook_in,
        model=fields.text(cfg, "model_name") or (f"Qwen/Qwen3-{release[1]}B" if release else None),
        published_l0=fields.published_l0(path),
        hook_in=hook_in,
        hook_out=block + (fields.text(cfg, "feature_output_hook") or "hook_mlp_out"),
    )


LOADER = Loader(
    description="transcoders of a layer's MLP: layer_<N>.safetensors",
    load=load,
    recognise=recognise,
    files=("../" + CONFIG, CONFIG),
)
