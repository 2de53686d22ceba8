"""A small affine SAE of any activation with random weights."""

from __future__ import annotations

from typing import Any

import torch

from saebench_lite.saes.affine import Activation, AffineSAE, Normalisation

D, M = 6, 10
NEEDS = {"threshold": "jumprelu", "r_mag": "gated", "b_mag": "gated"}
"Vectors beside biases, and the activation that has them."


def random_affine(
    activation: Activation,
    normalize: Normalisation = "none",
    subtract_b_dec: bool = True,
    meta: dict[str, Any] | None = None,
) -> AffineSAE:
    """An SAE of D dimensions and M latents, k = 3 where it is a TopK; the same at every call.

    Args:
        activation: its activation function.
        normalize: of its input.
        subtract_b_dec: whether the decoder's bias is taken off the input.
        meta: its metadata.
    """
    g = torch.Generator().manual_seed(3)
    return AffineSAE(
        W_enc=torch.randn(D, M, generator=g),
        W_dec=torch.randn(M, D, generator=g),
        b_enc=torch.randn(M, generator=g),
        b_dec=torch.randn(D, generator=g),
        **{name: torch.rand(M, generator=g) for name, need in NEEDS.items() if need == activation},
        activation=activation,
        k=3 if activation == "topk" else None,
        subtract_b_dec=subtract_b_dec,
        normalize=normalize,
        meta=meta or {},
    )
