"""One value per text and latent from token activations, in chunks: nothing of size tokens x d_sae is allocated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from saebench_lite.activations.acts import Acts
from saebench_lite.activations.oom_backoff import with_backoff
from saebench_lite.saes.protocol import SAE, device_of, encode_latents
from saebench_lite.saes.sparse_codes import bags_of_rows, pool_bags, restrict_to, sparse_codes

Pooling = Literal["mean", "last", "max"]


def pool_chunk(f: Tensor, owner: Tensor, texts: int, pooling: Pooling) -> Tensor:
    """Token values pooled into one row a text: [texts, m].

    Args:
        f: values. [t, m]
        owner: the text of each row, ascending; each text has at least one. [t]
        texts: how many there are.
        pooling: mean, last or max over the text's tokens.
    """
    if f.is_cuda and pooling != "last":
        return torch.segment_reduce(f, pooling, lengths=torch.bincount(owner, minlength=texts), unsafe=True)
    if pooling == "max":
        out = f.new_empty(texts, f.shape[1])
        return out.scatter_reduce_(0, owner[:, None].expand_as(f), f, "amax", include_self=False)
    counts = torch.bincount(owner, minlength=texts)
    if pooling == "last":
        return f[counts.cumsum(0) - 1]
    return f.new_zeros(texts, f.shape[1]).index_add_(0, owner, f) / counts[:, None]


def latent_blocks(d_sae: int, texts: int, tables: int, memory: int) -> list[range]:
    """Consecutive blocks of latents that fit in memory.

    Args:
        d_sae: latents in all.
        texts: rows of a table.
        tables: float32 tables [texts, block] in use at once.
        memory: bytes they may take together.
    """
    width = max(1, min(d_sae, memory // max(1, 4 * texts * tables)))
    return [range(low, min(low + width, d_sae)) for low in range(0, d_sae, width)]


def chunk_size(d_sae: int, device: torch.device, memory: int = 1 << 30) -> int:
    """Tokens encoded at once: codes of about 16 MiB on a CPU (they stay near the cache), 1 GiB on a GPU.

    At least 256, for a wide SAE's weights are read once a chunk (products of 64 rows run at two thirds of the speed),
    unless that takes more than a quarter of `memory`.
    """
    preferred = max(256, (1 << 30 if device.type == "cuda" else 1 << 24) // (4 * d_sae))
    return max(1, min(preferred, memory // (16 * d_sae)))


@torch.no_grad()
def pooled_codes(
    sae: SAE,
    acts: Acts,
    poolings: Sequence[Pooling],
    latents: range | Tensor | None = None,
    *,
    memory: int = 1 << 30,
) -> dict[Pooling, Tensor]:
    """Pooled codes {pooling: [texts, len(latents)]} float32 on the SAE's device.

    Args:
        sae: encodes the activations.
        acts: activations of the texts.
        poolings: mean, last or max; a table each.
        latents: which latents, in ascending order; all by default.
        memory: bytes that bound the chunks; where they run out all the same, smaller chunks are used, with a warning.
    """
    latents = range(sae.d_sae) if latents is None else latents
    rows = chunk_size(sae.d_sae, device_of(sae), memory)
    return with_backoff(lambda rows: _pooled(sae, acts, poolings, latents, rows), rows)


def _pooled(
    sae: SAE, acts: Acts, poolings: Sequence[Pooling], latents: range | Tensor, rows: int
) -> dict[Pooling, Tensor]:
    device = device_of(sae)
    out: dict[Pooling, Tensor] = {p: torch.empty(len(acts), len(latents), device=device) for p in poolings}
    index = torch.as_tensor(latents, device=device) if len(latents) < sae.d_sae else None
    for texts, x, owner in acts.chunks(rows, str(device)):
        n = texts.stop - texts.start
        codes = sparse_codes(sae, x)
        if codes is not None:
            bags = restrict_to(bags_of_rows(codes), latents, sae.d_sae)
            for p in poolings:
                out[p][texts] = pool_bags(bags, owner, n, len(latents), p)
            continue
        f = sae.encode(x) if index is None else encode_latents(sae, x, index)
        for p in poolings:
            out[p][texts] = pool_chunk(f, owner, n, p)
    return out


def pooled_acts(acts: Acts, pooling: Pooling, device: str = "cpu") -> Tensor:
    """The model's own activations pooled over tokens: [texts, d] float32."""
    out = torch.empty(len(acts), acts.d, device=device)
    for texts, x, owner in acts.chunks(1 << 16, device):
        out[texts] = pool_chunk(x, owner, texts.stop - texts.start, pooling)
    return out
