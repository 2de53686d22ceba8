"""Means, firing rates and magnitudes of many latents in two classes, read in strips that stay in the cache."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

STRIP = 1 << 21
"Bytes of float64 codes in a strip on a CPU."
STRIP_GPU = 1 << 28


class ClassSums(NamedTuple):
    """Of m latents over the rows of one problem, float64."""

    mean: Tensor
    "Positives, negatives. [2, m]"
    fires: Tensor
    "Share of rows with a code other than 0, the same way. [2, m]"
    absolute: Tensor
    "Mean of |code| over all rows. [m]"
    fired: Tensor
    "Share of all rows with a code other than 0. [m]"


def class_sums(table: Tensor, rows: Tensor, positive: Tensor) -> ClassSums:
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
    return ClassSums(*(torch.cat(p, -1) for p in zip(*parts, strict=True)))
