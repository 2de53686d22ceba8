"""One value per text and latent out of token activations, in chunks: nothing of size tokens x d_sae is ever held."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from saebench_lite.acts import Acts
from saebench_lite.backoff import backing_off
from saebench_lite.sae import SAE, device_of, encode_latents
from saebench_lite.sparse import SparseCodes, pool_sparse, sparse_codes

Pooling = Literal["mean", "last", "max"]
Note = Callable[[str], None]


def pool_chunk(f: Tensor, owner: Tensor, texts: int, how: Pooling) -> Tensor:
    """Pools token values f [t, m] into [texts, m]; owner [t] ascending, every text owns at least one row."""
    if how == "max":
        out = f.new_empty(texts, f.shape[1])
        return out.scatter_reduce_(0, owner[:, None].expand_as(f), f, "amax", include_self=False)
    counts = torch.bincount(owner, minlength=texts)
    if how == "last":
        return f[counts.cumsum(0) - 1]
    return f.new_zeros(texts, f.shape[1]).index_add_(0, owner, f) / counts[:, None]


def latent_blocks(d_sae: int, texts: int, tables: int, memory: int) -> list[range]:
    """Latents in runs such that `tables` float32 matrices [texts, run] stay within `memory` bytes."""
    width = max(1, min(d_sae, memory // max(1, 4 * texts * tables)))
    return [range(low, min(low + width, d_sae)) for low in range(0, d_sae, width)]


def chunk_size(d_sae: int, device: torch.device, memory: int = 1 << 30) -> int:
    """Tokens encoded at once: codes of about 16 MiB on a CPU (they stay near the cache), 1 GiB on a GPU.

    At least 256, for a wide SAE's weights are read once a chunk (products of 64 rows run at two thirds of the speed),
    unless that takes more than a quarter of `memory`.
    """
    wanted = max(256, (1 << 30 if device.type == "cuda" else 1 << 24) // (4 * d_sae))
    return max(1, min(wanted, memory // (16 * d_sae)))


@torch.no_grad()
def pooled_codes(
    sae: SAE,
    acts: Acts,
    how: Sequence[Pooling],
    latents: range | Tensor | None = None,
    *,
    memory: int = 1 << 30,
    note: Note = lambda sentence: None,
) -> dict[Pooling, Tensor]:
    """Pooled codes {pooling: [texts, len(latents)]} float32 on the SAE's device; all latents by default.

    `latents` in ascending order: a run of them, or any indices.
    """
    latents = range(sae.d_sae) if latents is None else latents
    rows = chunk_size(sae.d_sae, device_of(sae), memory)
    return backing_off(lambda rows: _pooled(sae, acts, how, latents, rows), rows, note)


def _pooled(sae: SAE, acts: Acts, how: Sequence[Pooling], latents: range | Tensor, rows: int) -> dict[Pooling, Tensor]:
    device = device_of(sae)
    out = _tables(acts, how, latents, device)
    index = torch.as_tensor(latents, device=device) if len(latents) < sae.d_sae else None
    for texts, x, owner in acts.chunks(rows, str(device)):
        n = texts.stop - texts.start
        codes = sparse_codes(sae, x) if isinstance(latents, range) else None
        if codes is not None and isinstance(latents, range):
            for h in how:
                out[h][texts] = pool_sparse(codes, owner, n, latents, h)
            continue
        f = sae.encode(x) if index is None else encode_latents(sae, x, index)
        for h in how:
            out[h][texts] = pool_chunk(f, owner, n, h)
    return out


def _tables(acts: Acts, how: Sequence[Pooling], latents: range | Tensor, device: torch.device) -> dict[Pooling, Tensor]:
    return {h: torch.empty(len(acts), len(latents), device=device) for h in how}


@torch.no_grad()
def pooled_blocks(
    sae: SAE, acts: Acts, how: Sequence[Pooling], memory: int, note: Note = lambda sentence: None
) -> Iterator[tuple[range, dict[Pooling, Tensor]]]:
    """Pooled codes block of latents by block, each block's tables within `memory` bytes; one block where all fits.

    SAEs with sparse codes are encoded once for all blocks where the codes take no more than half of `memory`.
    """
    blocks = latent_blocks(sae.d_sae, len(acts), len(how), memory)
    kept = _kept_codes(sae, acts, memory // 2, note) if len(blocks) > 1 else None
    if kept is None:
        for block in blocks:
            yield block, pooled_codes(sae, acts, how, block, memory=memory, note=note)
        return
    for block in latent_blocks(sae.d_sae, len(acts), len(how), memory // 2):
        out = _tables(acts, how, block, device_of(sae))
        for texts, owner, codes in kept:
            for h in how:
                out[h][texts] = pool_sparse(codes, owner, texts.stop - texts.start, block, h)
        yield block, out


def _kept_codes(sae: SAE, acts: Acts, room: int, note: Note) -> list[tuple[slice, Tensor, SparseCodes]] | None:
    """Sparse codes of all tokens, by chunk of texts; None where the SAE has none or they exceed `room` bytes."""
    device = device_of(sae)
    first = sparse_codes(sae, acts.x[:1].to(device, torch.float32))
    if first is None or acts.tokens * (first.values.shape[1] * 12 + 8) > room:
        return None

    def collect(rows: int) -> list[tuple[slice, Tensor, SparseCodes]] | None:
        found = []
        for texts, x, owner in acts.chunks(rows, str(device)):
            parts = [sparse_codes(sae, part) for part in x.split(rows)]
            if any(part is None for part in parts):
                return None
            found.append((texts, owner, SparseCodes(*(torch.cat(t) for t in zip(*parts, strict=True)))))  # type: ignore[arg-type]
        return found

    return backing_off(collect, chunk_size(sae.d_sae, device, room), note)


def pooled_acts(acts: Acts, how: Pooling, device: str = "cpu") -> Tensor:
    """The model's own activations pooled the same way: [texts, d] float32."""
    out = torch.empty(len(acts), acts.d, device=device)
    for texts, x, owner in acts.chunks(1 << 16, device):
        out[texts] = pool_chunk(x, owner, texts.stop - texts.start, how)
    return out
