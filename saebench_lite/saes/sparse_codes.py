"""Codes kept as what of them is not zero, with its place: the rest costs neither memory nor time.

The dense path (`encode`, `decode`) stays the reference; codes that are not sparse enough go through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from saebench_lite.errors import SaebenchError
from saebench_lite.saes.protocol import SAE, DecodesBags, EncodesSparse, reconstruct


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


class Bags(NamedTuple):
    """Codes of t rows that are not zero."""

    values: Tensor
    "[nnz], row after row"
    indices: Tensor
    "[nnz] long"
    starts: Tensor
    "First entry of each row. [t] long"

    def rows(self, low: int, high: int) -> Bags:
        """The same of the rows from `low` to `high`, exclusive."""
        ends = [len(self.values) if i == len(self.starts) else int(self.starts[i]) for i in (low, high)]
        entries = slice(*ends)
        return Bags(self.values[entries], self.indices[entries], self.starts[low:high] - ends[0])

    def owners(self) -> Tensor:
        """The row of each entry. [nnz] long"""
        lengths = torch.diff(self.starts, append=self.starts.new_tensor([len(self.values)]))
        of = torch.arange(len(self.starts), device=lengths.device)
        return of.repeat_interleave(lengths, output_size=len(self.values))

    @property
    def nbytes(self) -> int:
        """Bytes of all of it."""
        return sum(t.nbytes for t in self)


def joined(parts: Sequence[Bags]) -> Bags:
    """The rows of several, one after another."""
    values, indices, starts = (torch.cat(t) for t in zip(*parts, strict=True))
    before = np.cumsum([0, *(len(part.values) for part in parts[:-1])])
    rows = torch.tensor([len(part.starts) for part in parts])
    return Bags(values, indices, starts + torch.from_numpy(before).repeat_interleave(rows).to(starts.device))


DENSE = {"cpu": 16, "cuda": 128}
"Codes are decoded entry by entry where less than one in so many is not zero; else a matrix product is faster."


def bags_of(f: Tensor) -> Bags | None:
    """The entries of codes f [t, d_sae] that are not zero; None where they are too many to gain by it."""
    least = DENSE.get(f.device.type)
    if least is None or not f.is_contiguous():
        return None
    here = f.bool().view(-1)
    if least * (torch.count_nonzero(here) if f.is_cuda else np.count_nonzero(here.numpy())) > f.numel():
        return None
    place = here.nonzero()[:, 0] if f.is_cuda else torch.from_numpy(np.flatnonzero(here.numpy()))  # many times faster
    starts = torch.searchsorted(place, torch.arange(0, f.numel(), f.shape[1], device=f.device))
    return Bags(f.view(-1).index_select(0, place), place % f.shape[1], starts)


def bags_of_rows(codes: SparseCodes) -> Bags:
    """The entries of codes with k latents a row that are not zero."""
    here = codes.values != 0
    lengths = here.sum(1)
    return Bags(codes.values[here], codes.indices[here], lengths.cumsum(0) - lengths)


def encoded(sae: SAE, x: Tensor) -> Bags | Tensor:
    """Codes of x [t, d_in]: what is not zero of them, or all [t, d_sae] where that is too much to gain by it."""
    codes = sparse_codes(sae, x)
    if codes is not None:
        return bags_of_rows(codes)
    f = sae.encode(x)
    return bags_of(f) or f


def decoded(sae: SAE, x: Tensor, codes: Bags | Tensor) -> Tensor:
    """Reconstruction [t, d_out] of x [t, d_in] from its codes as `encoded` gives them."""
    if isinstance(codes, Tensor):
        return reconstruct(sae, x, codes)
    if isinstance(sae, DecodesBags):
        return sae.decode_bags(*codes, x)
    f = codes.values.new_zeros(len(x), sae.d_sae)
    f[codes.owners(), codes.indices] = codes.values
    return reconstruct(sae, x, f)


def reconstruct_rows(sae: SAE, x: Tensor) -> Tensor:
    """`sae.reconstruct` without the codes. x [t, d_in] -> [t, d_out]"""
    return decoded(sae, x, encoded(sae, x))


def restrict_to(bags: Bags, latents: range | Tensor, d_sae: int) -> Bags:
    """The codes of some latents (a run, or any, ascending), with indices counted within them."""
    if len(latents) == d_sae:
        return bags
    place = torch.full((d_sae,), -1, dtype=torch.long, device=bags.indices.device)
    place[torch.as_tensor(latents, device=place.device)] = torch.arange(len(latents), device=place.device)
    indices = place.index_select(0, bags.indices)
    here = indices >= 0
    before = torch.cat([here.new_zeros(1, dtype=torch.long), here.cumsum(0)])
    return Bags(bags.values[here], indices[here], before[bags.starts])


def pool_bags(bags: Bags, owner: Tensor, texts: int, width: int, pooling: str) -> Tensor:
    """Pooled codes [texts, width], equal to `pooling.pool_chunk` of the dense ones.

    Args:
        bags: codes of the tokens, none below zero.
        owner: each token's text, ascending. [t] long
        texts: number of texts.
        width: number of latents.
        pooling: "max", "last" or "mean" over the tokens of a text; any other word sums them.
    """
    counts = torch.bincount(owner, minlength=texts)
    values, indices, token = bags.values, bags.indices, bags.owners()
    if pooling == "last":
        last = torch.zeros(len(owner), dtype=torch.bool, device=owner.device)
        last[counts.cumsum(0) - 1] = True
        here = last.index_select(0, token)
        values, indices, token = values[here], indices[here], token[here]
    place = owner.index_select(0, token) * width + indices
    out = values.new_zeros(texts * width)
    if pooling == "max":
        out.scatter_reduce_(0, place, values, "amax")
    else:
        out.index_add_(0, place, values)
    out = out.view(texts, width)
    return out / counts[:, None] if pooling == "mean" else out
