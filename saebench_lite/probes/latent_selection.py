"""The best latents by a score, found block by block with the same result for any blocks, and scores to rank them by.

Of latents that tie the one with the lower index comes first, in a block and across blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, assert_never

import torch
from torch import Tensor

Selection = Literal["normalised", "raw"]
"Whether a difference of class means is divided by the latent's mean non-zero magnitude."


class Ranked(NamedTuple):
    """The best latents of one or more problems, best first."""

    score: Tensor
    "[..., k]"
    latent: Tensor
    "[..., k]"


class RankedColumns(NamedTuple):
    """The same with the latents' codes."""

    score: Tensor
    "[..., k]"
    latent: Tensor
    "[..., k]"
    columns: Tensor
    "[..., n, k]"


def first_largest(score: Tensor, k: int) -> Tensor:
    """Indices [..., k] of the k largest scores [..., m], largest first; of equal ones the lower index, NaN last."""
    score = torch.where(score.isnan(), -torch.inf, score)
    k = min(k, score.shape[-1])
    least = score.topk(k, -1).values[..., -1:]
    above, level = score > least, score == least
    room = k - above.sum(-1, keepdim=True)
    chosen = above | (level & (level.cumsum(-1) <= room))
    top = chosen.nonzero()[:, -1].view(*score.shape[:-1], k)  # ascending
    return top.gather(-1, score.gather(-1, top).argsort(dim=-1, descending=True, stable=True))


def ranked(score: Tensor, offset: int, k: int) -> Ranked:
    """The k best of a block whose first latent is `offset`. score [..., m]"""
    top = first_largest(score, k)
    return Ranked(score.gather(-1, top), top + offset)


def merged(a: Ranked | None, b: Ranked, k: int) -> Ranked:
    """The k best of two; where they tie, those of `a`, the earlier block, come first."""
    if a is None:
        return b
    score, latent = (torch.cat(pair, -1) for pair in zip(a, b, strict=True))
    order = _first(score, k)
    return Ranked(score.gather(-1, order), latent.gather(-1, order))


def merged_columns(
    best: RankedColumns | None, score: Tensor, offset: int, k: int, columns_of: Callable[[Tensor], Tensor]
) -> RankedColumns:
    """Merges a block of latents into the best k so far, codes included.

    Args:
        best: The best of earlier blocks, None before the first.
        score: Of each latent of the block. [..., m]
        offset: The block's first latent.
        k: How many are wanted; fewer where there are fewer.
        columns_of: Codes [..., n, j] of latents given by their place [..., j] in the block.
    """
    new = ranked(score, offset, k)
    block = RankedColumns(*new, columns_of(new.latent - offset))
    if best is None:
        return block
    score, latent, columns = (torch.cat(pair, -1) for pair in zip(best, block, strict=True))
    order = _first(score, k)
    wide = order.unsqueeze(-2).expand(*columns.shape[:-1], order.shape[-1])
    return RankedColumns(score.gather(-1, order), latent.gather(-1, order), columns.gather(-1, wide))


def _first(score: Tensor, k: int) -> Tensor:
    """Places of the k largest in lists already in order of preference [..., j]."""
    return score.argsort(dim=-1, descending=True, stable=True)[..., :k]


STRIP = 1 << 21
"Bytes of float64 codes in a strip on a CPU."


STRIP_GPU = 1 << 28


def strip_width(table: Tensor, rows: int) -> int:
    """Columns of a table that are turned into float64 at once, for `rows` of its rows."""
    return max(1, (STRIP_GPU if table.is_cuda else STRIP) // (8 * rows))


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
    width, parts = strip_width(table, len(rows)), []
    for low in range(0, table.shape[1], width):
        strip = table[:, low : low + width].index_select(0, rows).to(torch.float64)
        fires = side @ (strip != 0).to(torch.float64)
        mean = side[:2] @ strip
        parts.append((mean, fires[:2], side[2] @ strip.abs(), fires[2]))
    return ClassStatistics(*(torch.cat(p, -1) for p in zip(*parts, strict=True)))


def difference_of_means(sums: ClassStatistics, selection: Selection) -> Tensor:
    """|mean over positives - mean over negatives| of each latent [m], normalised as `selection` says.

    Rounded to float32, so that latents that tie do so in any block.
    """
    magnitude = sums.absolute / sums.fired.clamp(min=1e-30)
    return selected((sums.mean[0] - sums.mean[1]).abs(), magnitude, selection).float()


def differences_of_means(table: Tensor, sets: Sequence[tuple[Tensor, Tensor]], selection: Selection) -> Tensor:
    """The same in every training set at once, in table's own precision: [sets, m].

    table [texts, m]; sets: (texts [n], labels [n] bool).
    """
    texts = torch.cat([rows for rows, _ in sets]).unique()
    part = table[texts.to(table.device)]
    weight, member = torch.zeros(2, len(sets), len(texts), dtype=table.dtype)
    for i, (rows, labels) in enumerate(sets):
        place = torch.searchsorted(texts, rows)
        weight[i, place] = torch.where(labels, 1 / labels.sum(), -1 / (~labels).sum()).to(table.dtype)
        member[i, place] = 1.0
    weight, member = weight.to(table.device), member.to(table.device)
    magnitude = (member @ part.abs()) / (member @ (part != 0).to(part.dtype)).clamp(min=1)
    return selected((weight @ part).abs(), magnitude, selection)


def selected(difference: Tensor, magnitude: Tensor, selection: Selection) -> Tensor:
    """A latent's rank score: its difference of class means, or that over its mean non-zero magnitude (0 if dead)."""
    match selection:
        case "raw":
            return difference
        case "normalised":
            return torch.where(magnitude > 0, difference / magnitude.clamp(min=1e-30), 0.0)
        case _:
            assert_never(selection)


def standardised_differences(table: Tensor, y: Tensor) -> Tensor:
    """Difference of class means over standard deviation, float64 [problems, m].

    table [n, m]; y [problems, n] float64 in {0, 1}.
    """
    total = y.sum(1, keepdim=True)
    parts = []
    for strip in table.split(strip_width(table, len(table)), 1):
        strip = strip.double()
        yes, every = y @ strip, strip.sum(0)
        difference = yes / total - (every - yes) / (y.shape[1] - total)
        variance = (strip - every / len(strip)).square_().sum(0) / (len(strip) - 1)
        parts.append(difference / variance.sqrt().clamp(min=1e-12))
    return torch.cat(parts, 1)
