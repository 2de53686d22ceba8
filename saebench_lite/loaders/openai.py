"""OpenAI's GPT-2 autoencoders: one torch file a layer (Gao et al., arXiv:2406.04093; sparse_autoencoder/model.py).

Facts that are easy to miss: activation TopK implies layer norm of the input (unbiased standard deviation + 1e-5),
undone after decoding, though no flag says so; the file holds two entries that are not tensors.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from saebench_lite.errors import SaebenchError
from saebench_lite.loaders import _fields as fields
from saebench_lite.loaders._torch_files import keys_of, only_file
from saebench_lite.loading.loader import Loader
from saebench_lite.loading.readers import read_torch
from saebench_lite.loading.untrusted import brief, label
from saebench_lite.saes.affine import AffineSAE

KEYS = {"pre_bias", "latent_bias", "encoder.weight", "decoder.weight"}
SITES = {
    "resid_delta_attn": "hook_attn_out",
    "resid_delta_mlp": "hook_mlp_out",
    "resid_post_attn": "hook_resid_mid",
    "resid_post_mlp": "hook_resid_post",
    "mlp_post_act": "mlp.hook_post",
}


def load(path: Path) -> AffineSAE:
    """The SAE, from the file or from a folder that holds no other torch file."""
    file = only_file(path, ".pt") or path
    tensors, where = read_torch(file), label(file)
    b_enc = fields.vector(tensors, where, "latent_bias")
    parts = fields.pair(tensors, where, "encoder.weight", "decoder.weight", len(b_enc), linear=True)
    parts |= {"b_enc": b_enc, "b_dec": fields.vector(tensors, where, "pre_bias")}
    kind, state = tensors.get("activation"), fields.section(tensors, "activation_state_dict")
    if kind == "ReLU":
        return AffineSAE(**parts, activation="relu", meta=_meta(file, "relu", fields.RELU, "none", None))
    if kind != "TopK":
        raise SaebenchError(f"{where}: activation {brief(kind)} is not supported; there are ReLU and TopK")
    if state.get("postact_fn", "ReLU") != "ReLU":
        raise SaebenchError(f"{where}: postact_fn {brief(state['postact_fn'])} is not supported, only ReLU")
    k = fields.whole(state, "k")
    meta = _meta(file, "topk", fields.TOPK, "layer_norm", k)
    return AffineSAE(**parts, activation="topk", k=k, normalize="layer_norm", meta=meta)


def recognise(path: Path) -> bool:
    """Whether the file (or the only torch file of a folder) names this format's tensors."""
    file = only_file(path, ".pt")
    return file is not None and keys_of(file) >= KEYS


def _meta(file: Path, architecture: str, inference: str, normalize: str, k: int | None) -> dict[str, Any]:
    site = fields.from_path(file, "(" + "|".join(SITES) + ")")
    layer = re.fullmatch(r"\d+", file.stem)
    return fields.meta(
        format="openai",
        architecture=architecture,
        inference=inference,
        normalize=normalize,
        hook=f"blocks.{layer[0]}.{SITES[site[1]]}" if site and layer else None,
        model="gpt2",
        published_l0=k,
        layer=int(layer[0]) if layer else None,
    )


LOADER = Loader(description="OpenAI's GPT-2 autoencoders: <layer>.pt", load=load, recognise=recognise)
