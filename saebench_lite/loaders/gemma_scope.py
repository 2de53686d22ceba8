"""Gemma Scope folders: `params.npz`, the layer, width and L0 told by the path alone.

Source: Lieberum et al., arXiv:2408.05147. JumpReLU without subtraction of b_dec from the input. Facts that are easy to
miss: some files spell w_enc and w_dec in lower case; SAEs of the embedding read activations divided by sqrt(d_in) and
give them back multiplied; a transcoder reads the normed input of the MLP; none of them was trained on the BOS token.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from saebench_lite.errors import SaebenchError
from saebench_lite.loaders import _fields as fields
from saebench_lite.loading.loader import Loader
from saebench_lite.loading.readers import read_npz
from saebench_lite.loading.untrusted import label
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.transcoder import Transcoder

WEIGHTS = "params.npz"
SITES = {"res": "hook_resid_post", "mlp": "hook_mlp_out", "att": "attn.hook_z", "transcoders": "hook_mlp_out"}


def load(path: Path) -> AffineSAE:
    """The SAE or transcoder, from a folder with the file or from the file itself."""
    file = path / WEIGHTS if path.is_dir() else path
    where = label(file)
    tensors = {name.replace("w_", "W_", 1): t for name, t in read_npz(file).items()}
    if (scale := tensors.get("scaling_factor")) is not None and bool((scale != 1).any()):
        raise SaebenchError(f"{where} has a scaling_factor other than 1, which is not supported")
    b_enc = fields.vector(tensors, where, "b_enc")
    parts = fields.pair(tensors, where, "W_enc", "W_dec", len(b_enc), linear=False)
    parts |= {"b_enc": b_enc, "b_dec": fields.vector(tensors, where, "b_dec")}
    parts["threshold"] = fields.spread(fields.take(tensors, where, "threshold"), len(b_enc), where)
    meta = _meta(file)
    if "embedding" in file.absolute().parent.parts[-4:]:
        root = parts["W_enc"].shape[0] ** 0.5
        parts |= {"W_enc": parts["W_enc"] / root, "W_dec": parts["W_dec"] * root}
        meta |= {"hook": "blocks.0.hook_resid_pre", "normalize": "divided by sqrt(d_in), folded into the weights"}
    kind = Transcoder if meta.get("hook_in") else AffineSAE
    return kind(**parts, activation="jumprelu", subtract_b_dec=False, meta=meta)


def recognise(path: Path) -> bool:
    """Whether the path is a `params.npz`, or a folder that holds one."""
    return (path / WEIGHTS).is_file() or (path.name == WEIGHTS and path.is_file())


def _meta(file: Path) -> dict[str, Any]:
    release = fields.from_path(file, r"gemma-scope-(\d+b)-(pt|it)-(res|mlp|att|transcoders)(?!\w)")
    layer = fields.from_path(file, r"^layer_(\d+)$")
    width = fields.from_path(file, r"^width_(\w+)$")
    transcoder = bool(release and release[3] == "transcoders" and layer)
    hook = hook_out = model = None
    if release:
        model = f"google/gemma-2-{release[1]}" + ("-it" if release[2] == "it" else "")
        hook_out = f"blocks.{layer[1]}.{SITES[release[3]]}" if layer else None
        hook = f"blocks.{layer[1]}.ln2.hook_normalized" if layer and transcoder else hook_out
    return fields.meta(
        format="gemma_scope",
        architecture="jumprelu",
        inference=fields.THRESHOLD,
        hook=hook,
        model=model,
        published_l0=fields.published_l0(file),
        layer=int(layer[1]) if layer else None,
        width=width[1] if width else None,
        hook_in=hook if transcoder else None,
        hook_out=hook_out if transcoder else None,
    )


LOADER = Loader(
    description="Gemma Scope folders: params.npz under layer_N/width_W/average_l0_L",
    load=load,
    recognise=recognise,
    files=(WEIGHTS,),
)
