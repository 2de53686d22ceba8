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


STRIP = 1 << 21
"Bytes of float64 codes in a strip on a CPU."


STRIP_GPU = 1 << 28


class ClassStatistics(NamedTuple):
    """Of m latents over the rows of one problem, float64."""

    mean: Tensor
    "Positives, negatives. [2, m]"
    fires: Tensor
    "Share of rows with a code other than 0, the same way. [2, m]"
    absolute: Tensor
    "Mean of |code| over all rows. [m]"
    fired: Tensor
    "Share of all rows with a code other than 0. [m]"


def class_statistics(table: Tensor, rows: Tensor, positive: Tensor) -> ClassStatistics:
    """Figures of table [texts, m] over `rows` [n], labelled by positive [n] bool. Nothing of size n x m is made."""
    rows = rows.to(table.device)
    yes = positive.to(table.device, torch.float64)
    side = torch.stack([yes / yes.sum(), (1 - yes) / (1 - yes).sum(), torch.full_like(yes, 1 / len(yes))])
    width = max(1, (STRIP_GPU if table.is_cuda else STRIP) // (8 * len(rows)))
    parts = []
    for low in range(0, table.shape[1], width):
        strip = table[:, low : low + width].index_select(0, rows).to(torch.float64)
        fires = side @ (strip != 0).to(torch.float64)
        mean = side[:2] @ strip
        parts.append((mean, fires[:2], side[2] @ strip.abs(), fires[2]))
    return ClassStatistics(*(torch.cat(p, -1) for p in zip(*parts, strict=True)))
