"""The latent with the largest AUROC for each of many concepts, without ranking the texts by every latent.

How many positives and negatives lie at a latent's lowest value, above it and far above it bounds its AUROC, and
only latents whose bound reaches the best AUROC found so far are ranked. The result is that of ranking them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from saebench_lite.metrics.classification import auroc
from saebench_lite.probes.alike import alike

FIRST = 16
"Latents that are ranked first, those with the largest bounds."
SETS = 96
"Training sets whose bounds are computed at once."
NUMBERS = 1 << 22
"Values that are ranked at once."
ROUNDING = 1e-9
"Added to bounds, which are float64 but rounded."


class Best(NamedTuple):
    """A latent and its AUROC."""

    auroc: float
    latent: int


class Parts(NamedTuple):
    """Where a table's values lie, of each latent."""

    above: Tensor
    "Above its lowest value: 0 or 1. [texts, m]"
    far: Tensor
    "Above the mean of these: 0 or 1. [texts, m]"
    unknown: Tensor
    "Whether one is NaN. [m] bool"


def largest_auroc(table: Tensor, sets: Sequence[tuple[Tensor, Tensor]]) -> list[Best]:
    """Of each training set the latent with the largest AUROC; of equal ones the first.

    table: pooled codes [texts, m]; sets: (texts [n], labels [n] bool) each, on the table's device.
    """
    sides = [(texts[positive], texts[~positive]) for texts, positive in sets]
    parts, out = _parts(table), [Best(float("nan"), -1)] * len(sides)
    for low in range(0, len(sides), SETS):
        group = sides[low : low + SETS]
        bounds = _bounds(parts, group)
        for members in alike((len(p), len(q)) for p, q in group):
            positive, negative = (torch.stack([group[i][side] for i in members]) for side in (0, 1))
            for i, best in zip(members, _largest(table, positive, negative, bounds[members]), strict=True):
                out[low + i] = best
    return out


def _largest(table: Tensor, positive: Tensor, negative: Tensor, bound: Tensor) -> list[Best]:
    """`largest_auroc` of b sets of one size.

    Args:
        table: pooled codes. [texts, m]
        positive: texts of each set. [b, p]
        negative: texts of each set. [b, q]
        bound: of the AUROC of every latent. [b, m]
    """
    first = bound.topk(min(FIRST, bound.shape[1])).indices
    each = torch.arange(len(bound), device=bound.device).repeat_interleave(first.shape[1])
    reached = _auroc(table, positive, negative, each, first.flatten()).view_as(first).amax(1)
    of, latent = (bound >= reached[:, None]).nonzero(as_tuple=True)
    value = _auroc(table, positive, negative, of, latent)
    best = reached.scatter_reduce(0, of, value, "amax")
    tied = value == best[of]
    lowest = torch.full_like(of, bound.shape[1])[: len(bound)].scatter_reduce(0, of[tied], latent[tied], "amin")
    return [Best(*pair) for pair in zip(best.tolist(), lowest.tolist(), strict=True)]


def _auroc(table: Tensor, positive: Tensor, negative: Tensor, of: Tensor, latents: Tensor) -> Tensor:
    """AUROC of pairs of a set and a latent. [pairs] float64

    Args:
        table: pooled codes. [texts, m]
        positive: texts of each set. [b, p]
        negative: texts of each set. [b, q]
        of: the set. [pairs]
        latents: the latent. [pairs]
    """
    step = max(1, NUMBERS // (positive.shape[1] + negative.shape[1]))
    pairs = zip(of.split(step), latents[:, None].split(step), strict=True)
    return torch.cat([auroc(table[positive[i], j], table[negative[i], j]) for i, j in pairs])


def _parts(table: Tensor) -> Parts:
    lowest = table.amin(0)
    above = (table > lowest).to(table.dtype)
    mean = ((table - lowest) * above).sum(0) / above.sum(0).clamp(min=1)
    return Parts(above, (table > lowest + mean).to(table.dtype), lowest.isnan())


def _bounds(parts: Parts, sides: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Upper bounds of the AUROC of every latent in every training set: [sets, m] float64.

    Texts count in full against those of the same part of a latent's values, but at the lowest value, where all tie. The
    parts above it are divided at their mean. sides: positive texts [p] and negative texts [q] of each set.
    """
    shares = []
    for texts in zip(*sides, strict=True):
        size = torch.tensor([len(t) for t in texts])
        first, size = (size.cumsum(0) - size).to(texts[0].device), size.to(texts[0].device)
        for part in parts[:2]:
            counted = torch.nn.functional.embedding_bag(torch.cat(texts), part, first, mode="sum")
            shares.append(counted.double() / size[:, None])
    p_above, p_far, q_above, q_far = shares
    bound = p_far + (p_above - p_far) * (1 - q_far) + (1 - p_above) * (1 - q_above) / 2
    return torch.where(parts.unknown, 1.0, bound + ROUNDING)
