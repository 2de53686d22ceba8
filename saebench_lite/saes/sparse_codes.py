"""Codes of SAEs with k latents a row, kept as values and indices: what is zero costs neither memory nor time.

The dense path (`encode`, `decode`) stays the reference; an SAE that offers no sparse one goes through it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from saebench_lite.errors import SaebenchError
from saebench_lite.saes.protocol import SAE, DecodesBags, DecodesSparse, EncodesSparse, reconstruct


class SparseCodes(NamedTuple):
    """Codes of t rows; the rest of each row is zero."""

    values: Tensor
    "[t, k] not negative"
    indices: Tensor
    "[t, k] long"


def sparse_codes(sae: SAE, x: Tensor) -> SparseCodes | None:
    """Codes of x [t, d_in] by the SAE's `encode_sparse`; None where it has none or a value is negative."""
    if not isinstance(sae, EncodesSparse):
        return None
    try:
        values, indices = sae.encode_sparse(x)
    except SaebenchError:  # an SAE class whose other activations have no fixed k
        return None
    return None if (values < 0).any() else SparseCodes(values, indices)


def restrict_to(codes: SparseCodes, latents: range | Tensor, d_sae: int) -> SparseCodes:
    """The same codes with indices counted within `latents` (a run, or any, ascending); -1 for others."""
    if isinstance(latents, range):
        inside = (codes.indices >= latents.start) & (codes.indices < latents.stop)
        return codes._replace(indices=torch.where(inside, codes.indices - latents.start, -1))
    place = torch.full((d_sae,), -1, dtype=torch.long, device=codes.indices.device)
    place[latents] = torch.arange(len(latents), device=place.device)
    return codes._replace(indices=place[codes.indices])


def pool_sparse(codes: SparseCodes, owner: Tensor, texts: int, width: int, pooling: str) -> Tensor:
    """Pooled codes [texts, width], equal to `pooling.pool_chunk` of the dense ones; indices of -1 count for nothing.

    Args:
        codes: of the tokens. [t, k]
        owner: each token's text, ascending. [t] long
        texts: number of texts.
        width: number of latents.
        pooling: "max", "last" or "mean" over the tokens of a text; any other word sums them.
    """
    counts = torch.bincount(owner, minlength=texts)
    here = (codes.values != 0) & (codes.indices >= 0)
    if pooling == "last":
        last = torch.zeros(len(owner), dtype=torch.bool, device=owner.device)
        last[counts.cumsum(0) - 1] = True
        here &= last[:, None]
    place = (owner[:, None] * width + codes.indices)[here]
    values = codes.values[here]
    out = values.new_zeros(texts * width)
    if pooling == "max":
        out.scatter_reduce_(0, place, values, "amax")
    else:
        out.index_add_(0, place, values)
    out = out.view(texts, width)
    return out / counts[:, None] if pooling == "mean" else out


class Bags(NamedTuple):
    """Codes of t rows that differ in how many are not zero, row after row."""

    values: Tensor
    "[nnz]"
    indices: Tensor
    "[nnz] long"
    starts: Tensor
    "First entry of each row. [t] long"


DENSE = {"cpu": 32, "cuda": 128}
"Codes are decoded entry by entry where less than one in so many is not zero; else a matrix product is faster."


def bags_of(f: Tensor) -> Bags | None:
    """The entries of codes f [t, d_sae] that are not zero; None where they are too many to gain by it."""
    dense = DENSE.get(f.device.type)
    if dense is None or not f.is_contiguous() or dense * torch.count_nonzero(f) > f.numel():
        return None
    place = f.view(-1).nonzero()[:, 0]
    starts = torch.searchsorted(place, torch.arange(0, f.numel(), f.shape[1], device=f.device))
    return Bags(f.view(-1)[place], place % f.shape[1], starts)


def reconstruct_codes(sae: SAE, x: Tensor, f: Tensor) -> tuple[Tensor, Bags | None]:
    """`sae.reconstruct` of x [t, d_in] from its codes f [t, d_sae], and what of f is not zero if that was of use."""
    if isinstance(sae, DecodesBags) and (bags := bags_of(f)) is not None:
        return sae.decode_bags(*bags, x), bags
    return reconstruct(sae, x, f), None


def reconstruct_rows(sae: SAE, x: Tensor) -> Tensor:
    """`sae.reconstruct` without the codes, by the sparse way where there is one. x [t, d_in] -> [t, d_in]."""
    if isinstance(sae, DecodesSparse) and (codes := sparse_codes(sae, x)) is not None:
        return sae.decode_sparse(*codes, x)
    return reconstruct_codes(sae, x, sae.encode(x))[0]
