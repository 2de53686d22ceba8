"""The latent with the largest AUROC for each of many concepts, without ranking the texts by every latent.

How many positives and negatives lie at a latent's lowest value, above it and far above it bounds its AUROC. These
counts are matrix products for all concepts at once, and only latents whose bound reaches the best AUROC found so far
are ranked. The result is that of ranking them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from saebench_lite.metrics.classification import auroc

FIRST = 16
"Latents that are ranked first, those with the largest bounds."
SETS = 96
"Training sets whose bounds are computed at once."
ROUNDING = 1e-9
"Added to bounds, which are float64 but rounded."


class Best(NamedTuple):
    """A latent and its AUROC."""

    auroc: float
    latent: int


def largest_auroc(table: Tensor, sets: Sequence[tuple[Tensor, Tensor]]) -> Iterator[Best]:
    """Of each training set the latent with the largest AUROC; of equal ones the first.

    table: pooled codes [texts, m]; sets: (texts [n], labels [n] bool) each, on the table's device.
    """
    for low in range(0, len(sets), SETS):
        group = sets[low : low + SETS]
        for (texts, positive), bound in zip(group, _bounds(table, group), strict=True):
            first = bound.topk(min(FIRST, len(bound))).indices
            reached = _auroc(table, texts, positive, first).max()
            left = (bound >= reached).nonzero()[:, 0]
            value, place = _auroc(table, texts, positive, left).max(0)
            yield Best(value.item(), int(left[place]))


def _auroc(table: Tensor, texts: Tensor, positive: Tensor, latents: Tensor) -> Tensor:
    """AUROC of some latents. [len(latents)] float64"""
    rows = table[texts[:, None], latents]
    return auroc(rows[positive].T, rows[~positive].T)


def _bounds(table: Tensor, sets: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Upper bounds of the AUROC of every latent in every training set: [sets, m] float64.

    Texts count in full against those of the same part of a latent's values, but at the lowest value, where all tie. The
    parts above it are divided at their mean.
    """
    lowest = table.amin(0)
    above = (table > lowest).to(table.dtype)
    mean = ((table - lowest) * above).sum(0) / above.sum(0).clamp(min=1)
    far = (table > lowest + mean).to(table.dtype)
    members = table.new_zeros(2, len(sets), len(table))
    for i, (texts, positive) in enumerate(sets):
        for side, chosen in enumerate((texts[positive], texts[~positive])):
            members[side, i].index_add_(0, chosen, members.new_ones(len(chosen)))
    size = members.sum(-1, keepdim=True).double()
    (p_above, q_above), (p_far, q_far) = ((members @ part).double() / size for part in (above, far))
    bound = p_far + (p_above - p_far) * (1 - q_far) + (1 - p_above) * (1 - q_above) / 2
    return torch.where(lowest.isnan(), 1.0, bound + ROUNDING)
