"""The best latents by a score, found block by block with the same result for any blocks, and scores to rank them by.

Of latents that tie the one with the lower index comes first, in a block and across blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, assert_never

import torch
from torch import Tensor

Selection = Literal["standardised", "normalised", "raw"]
"""What a difference of class means is divided by: the latent's standard deviation within the classes, so that neither
scale nor a constant added to every code matters; its mean non-zero magnitude (sae-probes); or nothing (SAEBench)."""


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


def ranked_columns(score: Tensor, offset: int, k: int, columns_of: Callable[[Tensor], Tensor]) -> RankedColumns:
    """`ranked` with codes; columns_of: codes [..., n, j] of latents given by their place [..., j] in the block."""
    new = ranked(score, offset, k)
    return RankedColumns(*new, columns_of(new.latent - offset))


def merged_columns(best: RankedColumns | None, new: RankedColumns, k: int) -> RankedColumns:
    """`merged` with codes; fewer than k where there are fewer."""
    if best is None:
        return new
    score, latent, columns = (torch.cat(pair, -1) for pair in zip(best, new, strict=True))
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


ROUNDING = 1e-7
"Standard deviations below this share of the root mean square are rounding."


def class_differences(
    table: Tensor, rows: Tensor, positive: Tensor, selection: Selection, prevalence: float = 0.5
) -> Tensor:
    """Mean over positives minus mean over negatives of each latent, divided as `selection` says. [m] float32

    Sums are float64 and the result is rounded, so that latents that tie do so in any block. A latent that never fires
    has 0. Nothing of size n x m is made.

    Args:
        table: pooled codes. [texts, m]
        rows: texts that are read. [n]
        positive: their labels. [n] bool
        selection: what the difference is divided by.
        prevalence: share of positives in the variance within classes, whatever their share among `rows`.
    """
    rows = rows.to(table.device)
    yes = positive.to(table.device, torch.float64)
    side = torch.stack([yes / yes.sum(), (1 - yes) / (1 - yes).sum()])
    share = side.new_tensor([prevalence, 1 - prevalence])
    width, parts = strip_width(table, len(rows)), []
    for low in range(0, table.shape[1], width):
        strip = table[:, low : low + width].index_select(0, rows).to(torch.float64)
        mean = side @ strip
        match selection:
            case "standardised":
                square = share @ (side @ strip.square())
                scale = (square - share @ mean.square()).clamp(min=0).sqrt().clamp(min=ROUNDING * square.sqrt())
            case "normalised":
                scale = strip.abs().sum(0) / (strip != 0).sum(0).clamp(min=1)
            case "raw":
                scale = torch.ones_like(mean[0])
            case _:
                assert_never(selection)
        parts.append(_divided(mean[0] - mean[1], scale))
    return torch.cat(parts).float()


SETS = 96
"Sets whose sums are made together: their texts are mostly the same, or few."


def class_differences_of_sets(table: Tensor, sets: Sequence[tuple[Tensor, Tensor]], prevalence: float) -> Tensor:
    """Standardised `class_differences` of many training sets: [sets, m] float32.

    Texts that the sets of a group share are read once. A text may be in a set several times.

    Args:
        table: pooled codes. [texts, m]
        sets: (texts [n], labels [n] bool) each.
        prevalence: share of positives in the variance within classes.
    """
    return torch.cat([_differences_of_group(table, sets[i : i + SETS], prevalence) for i in range(0, len(sets), SETS)])


def _differences_of_group(table: Tensor, sets: Sequence[tuple[Tensor, Tensor]], prevalence: float) -> Tensor:
    texts = torch.cat([rows.cpu() for rows, _ in sets]).unique()
    means = _class_means(texts, sets, table.device)
    texts = texts.to(table.device)
    width, parts = strip_width(table, len(texts)), []
    for low in range(0, table.shape[1], width):
        strip = table[:, low : low + width].index_select(0, texts).to(torch.float64)
        (yes, no), (yes_square, no_square) = means(strip), means(strip.square())
        square = torch.lerp(no_square, yes_square, prevalence)
        within = square - torch.lerp(no.square(), yes.square(), prevalence)
        scale = within.clamp(min=0).sqrt().clamp(min=ROUNDING * square.sqrt())
        parts.append(_divided(yes - no, scale))
    return torch.cat(parts, 1).float()


def _class_means(
    texts: Tensor, sets: Sequence[tuple[Tensor, Tensor]], device: torch.device
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """Means of x [t, m] over the positives and the negatives of each set: [sets, m] each.

    Positives are few and are added up one by one; negatives are a matrix product.

    Args:
        texts: those of x, ascending. [t]
        sets: texts and labels of each.
        device: of x.
    """
    place = torch.empty(int(texts[-1]) + 1, dtype=torch.long)
    place[texts] = torch.arange(len(texts))
    members, share = [], torch.zeros(len(sets), len(texts), dtype=torch.float64)
    for i, (rows, positive) in enumerate(sets):
        at, yes = place[rows.cpu()], positive.cpu()
        members.append(at[yes])
        no = at[~yes]
        share[i] = torch.bincount(no, minlength=len(texts)).double() / len(no)
    size = torch.tensor([len(m) for m in members])
    every, starts = torch.cat(members).to(device), (size.cumsum(0) - size).to(device)
    share, count = share.to(device), size[:, None].double().to(device)

    def means(x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.nn.functional.embedding_bag(every, x, starts, mode="sum") / count, share @ x

    return means


def _divided(difference: Tensor, scale: Tensor) -> Tensor:
    return torch.where(scale > 0, difference / scale.clamp(min=torch.finfo(scale.dtype).tiny), 0.0)


def differences_of_sets(table: Tensor, sets: Sequence[tuple[Tensor, Tensor]], selection: Selection) -> Tensor:
    """|`class_differences`| in every training set at once, in table's own precision: [sets, m].

    table [texts, m]; sets: (texts [n], labels [n] bool).
    """
    texts = torch.cat([rows for rows, _ in sets]).unique()
    part = table[texts.to(table.device)]
    weight = table.new_zeros(2, len(sets), len(texts), device="cpu")
    for i, (rows, labels) in enumerate(sets):
        place = torch.searchsorted(texts, rows)
        for side, members in enumerate((labels, ~labels)):
            weight[side, i, place] = (members / members.sum()).to(table.dtype)
    weight = weight.to(table.device)
    match selection:
        case "standardised":
            part = part - part.mean(0)  # a shift changes nothing but what float32 rounds away
            mean, square = weight @ part, (weight @ part.square()).mean(0)
            scale = (square - mean.square().mean(0)).clamp(min=0).sqrt().clamp(min=1e-3 * ROUNDING * square.sqrt())
        case "normalised":
            mean, member = weight @ part, (weight.sum(0) > 0).to(part.dtype)
            scale = (member @ part.abs()) / (member @ (part != 0).to(part.dtype)).clamp(min=1)
        case "raw":
            mean = weight @ part
            scale = torch.ones_like(mean[0])
        case _:
            assert_never(selection)
    return _divided((mean[0] - mean[1]).abs(), scale)


def standardised_differences(table: Tensor, y: Tensor) -> Tensor:
    """Difference of class means over standard deviation, float64 [problems, m].

    table [n, m]; y [problems, n] bool, of which few should be true: they are added up one by one.
    """
    total = y.sum(1, keepdim=True).double()
    members, starts = y.nonzero()[:, 1], (total.cumsum(0) - total).long()[:, 0]
    parts = []
    for strip in table.split(strip_width(table, len(table)), 1):
        strip = strip.double()
        yes = torch.nn.functional.embedding_bag(members, strip, starts, mode="sum")
        total_sum = strip.sum(0)
        difference = yes / total - (total_sum - yes) / (y.shape[1] - total)
        variance = (strip - total_sum / len(strip)).square_().sum(0) / (len(strip) - 1)
        parts.append(difference / variance.sqrt().clamp(min=1e-12))
    return torch.cat(parts, 1)
