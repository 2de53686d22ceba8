"""Task settings for a corpus of 48 texts (the fixture `few_texts`), and a JumpReLU SAE that fits pico."""

from __future__ import annotations

import torch

from saebench_lite.saes.affine import AffineSAE

SETTINGS = {
    "reconstruction": {"max_tokens": 500, "blocks": 2},
    "ce_delta": {"max_tokens": 300, "context": 32, "blocks": 2},
    "sparse_probing": {"ks": (1, 2), "poolings": ("mean",)},
    "concept_detection": {},
    "absorption": {"max_words": 400, "min_share": 0.0, "max_k": 3},
}


def jumping() -> AffineSAE:
    g = torch.Generator().manual_seed(3)
    w = torch.nn.functional.normalize(torch.randn(200, 128, generator=g))
    return AffineSAE(W_enc=w.T, W_dec=w, activation="jumprelu", threshold=torch.full((200,), 0.3))
