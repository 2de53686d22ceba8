"""Random activations of short texts, and a TopK SAE that fits them."""

from __future__ import annotations

import torch

from saebench_lite.activations.acts import Acts
from saebench_lite.saes.affine import AffineSAE

HOW = ("mean", "last", "max")


def topk(m: int = 40, d: int = 16, k: int = 5, **kwargs) -> AffineSAE:
    g = torch.Generator().manual_seed(0)
    w = torch.randn(m, d, generator=g)
    return AffineSAE(W_enc=w.T, W_dec=w, b_dec=torch.randn(d, generator=g), activation="topk", k=k, **kwargs)


def some_acts(texts: int = 30, d: int = 16) -> Acts:
    g = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, 9, (texts,), generator=g)
    offsets = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)])
    return Acts(torch.randn(int(offsets[-1]), d, generator=g), offsets)
