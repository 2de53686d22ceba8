"""Test words of absorption one by one: what each latent carries along a probe, and how well the SAE fits them."""

from __future__ import annotations

from typing import Literal, assert_never

import torch
from torch import Tensor

from saebench_lite.activations.pooled_codes import Pooled
from saebench_lite.activations.pooling import chunk_size
from saebench_lite.saes.protocol import device_of
from saebench_lite.saes.sparse_codes import bags_of, decoded


def projected(decoder: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """d_j . u of unit directions u [parents, d] with every decoder row d_j, [parents, m], and the norms of d_j [m]."""
    along, norms = [], []
    for strip in decoder.split(2048):
        strip = strip.double()
        along.append(directions @ strip.mT)
        norms.append(strip.square().sum(1).sqrt())
    return torch.cat(along, 1), torch.cat(norms).clamp(min=1e-30)


def contribution(along: Tensor, cosine: Tensor, kind: Literal["decoder", "cosine"]) -> Tensor:
    """What a code is multiplied by [m]: d_j . u, or its cosine."""
    match kind:
        case "decoder":
            return along
        case "cosine":
            return cosine
        case _:
            assert_never(kind)


def words_at_once(pooled: Pooled) -> int:
    """Words whose codes are held together."""
    return min(256, chunk_size(pooled.sae.d_sae, device_of(pooled.sae), pooled.memory))


@torch.no_grad()
def squared_errors(pooled: Pooled, first: int) -> tuple[float, float]:
    """Sums of |x - x_hat|² and of |x - mean|² over the one-token texts from `first` on, float64."""
    acts = pooled.acts.x[first:]
    device, sse = device_of(pooled.sae), 0.0
    for batch in torch.arange(len(acts)).split(words_at_once(pooled)):
        x = acts[batch].to(device, torch.float32)
        f = pooled.rows("last", first + batch)
        x_hat = decoded(pooled.sae, x, bags_of(f) or f)
        sse += (x.double() - x_hat.double()).square().sum().item()
    exact = acts.double()
    return sse, (exact - exact.mean(0)).square().sum().item()
