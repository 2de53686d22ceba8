"""Qwen Scope files: `layer<N>.sae.pt`, W_enc [d_sae, d_in] and W_dec [d_in, d_sae].

TopK of each row without subtraction of b_dec from the input. k is in no file: only the repository's name tells it
(SAE-Res-Qwen3-8B-Base-W64K-L0_50), so that name must stay in the path.
"""

from __future__ import annotations

import re
from pathlib import Path

from saebench_lite.errors import SaebenchError
from saebench_lite.loaders import _fields as fields
from saebench_lite.loaders._torch_files import keys_of, only_file
from saebench_lite.loading.loader import Loader
from saebench_lite.loading.readers import read_torch
from saebench_lite.loading.untrusted import label
from saebench_lite.saes.affine import AffineSAE

KEYS = {"W_enc", "W_dec", "b_enc", "b_dec"}
NAME = r"layer(\d+)\.sae\.pt"


def load(path: Path) -> AffineSAE:
    """The SAE, from the file or from a folder that holds no other torch file."""
    file = only_file(path, ".pt") or path
    tensors, where = read_torch(file), label(file)
    k = fields.published_l0(file)
    if k is None:
        raise SaebenchError(f"{where} does not tell its k; keep the repository's folder name, which ends in L0_<k>")
    b_enc = fields.vector(tensors, where, "b_enc")
    parts = fields.pair(tensors, where, "W_enc", "W_dec", len(b_enc), linear=True)
    parts |= {"b_enc": b_enc, "b_dec": fields.vector(tensors, where, "b_dec")}
    layer, release = re.search(NAME, file.name), fields.from_path(file, r"SAE-Res-(.+)-W\d+K-L0_\d+")
    meta = fields.meta(
        format="qwen_scope",
        architecture="topk",
        inference=fields.TOPK,
        hook=f"blocks.{int(layer[1])}.hook_resid_post" if layer else None,
        model=f"Qwen/{release[1]}" if release else None,
        published_l0=k,
    )
    return AffineSAE(**parts, activation="topk", k=k, subtract_b_dec=False, meta=meta)


def recognise(path: Path) -> bool:
    """Whether the file (or the only torch file of a folder) has this format's name and tensors."""
    file = only_file(path, ".pt")
    return file is not None and re.fullmatch(NAME, file.name) is not None and keys_of(file) >= KEYS


LOADER = Loader(
    description="Qwen Scope files: layer<N>.sae.pt under a folder ...-L0_<k>", load=load, recognise=recognise
)
