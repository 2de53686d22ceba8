"""Goodfire's Llama SAEs: one `.pth` or `.pt` file of two linear layers.

Plain ReLU; b_dec is not subtracted from the input. Model and layer are told by the file's name alone
(Llama-3.1-8B-Instruct-SAE-l19). Their TopK SAEs, which have no linear decoder, are not supported.
"""

from __future__ import annotations

from pathlib import Path

from saebench_lite.loaders import _fields as fields
from saebench_lite.loaders._torch_files import keys_of, only_file
from saebench_lite.loading.loader import Loader
from saebench_lite.loading.readers import read_torch
from saebench_lite.loading.untrusted import label
from saebench_lite.saes.affine import AffineSAE

KEYS = {"encoder_linear.weight", "decoder_linear.weight"}


def load(path: Path) -> AffineSAE:
    """The SAE, from the file or from a folder that holds no other torch file."""
    file = only_file(path, ".pt", ".pth") or path
    tensors, where = read_torch(file), label(file)
    b_enc = fields.vector(tensors, where, "encoder_linear.bias")
    parts = fields.pair(tensors, where, "encoder_linear.weight", "decoder_linear.weight", len(b_enc), linear=True)
    b_dec = fields.vector(tensors, where, "decoder_linear.bias")
    name = fields.from_path(file, r"^(Llama-.+)-SAE-l(\d+)")
    meta = fields.meta(
        format="goodfire",
        architecture="relu",
        inference=fields.RELU,
        hook=f"blocks.{int(name[2])}.hook_resid_post" if name else None,
        model=f"meta-llama/{name[1]}" if name else None,
    )
    return AffineSAE(**parts, b_enc=b_enc, b_dec=b_dec, activation="relu", subtract_b_dec=False, meta=meta)


def recognise(path: Path) -> bool:
    """Whether the file (or the only torch file of a folder) names this format's tensors."""
    file = only_file(path, ".pt", ".pth")
    return file is not None and keys_of(file) >= KEYS


LOADER = Loader(description="Goodfire's Llama SAEs: a .pth or .pt of linear layers", load=load, recognise=recognise)
