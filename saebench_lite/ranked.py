"""The best latents by a score, found block by block with the same result for any blocks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Ranked(NamedTuple):
    """Some latents, best first."""

    score: Tensor
    "[k]"
    latent: Tensor
    "[k]"


def first_largest(score: Tensor, k: int) -> Tensor:
    """Indices of the k largest, largest first; of equal ones the first, so that blocks of latents change nothing."""
    least = score.topk(min(k, len(score))).values[-1]
    candidates = (score >= least).nonzero()[:, 0]
    return candidates[score[candidates].argsort(descending=True, stable=True)[:k]]


def ranked(score: Tensor, offset: int, k: int) -> Ranked:
    """The k best of a block whose first latent is `offset`. score [m]"""
    top = first_largest(score, k)
    return Ranked(score[top], top + offset)


def merged(a: Ranked | None, b: Ranked, k: int) -> Ranked:
    """The k best of two; where they tie, those of `a`, the earlier block, come first."""
    if a is None:
        return b
    both = Ranked(*(torch.cat(pair) for pair in zip(a, b, strict=True)))
    order = both.score.argsort(descending=True, stable=True)[:k]
    return Ranked(both.score[order], both.latent[order])
