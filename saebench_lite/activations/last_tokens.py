"""Last tokens of texts that share their beginnings, read from rows in which a beginning stands once.

Forty words after the same worked examples are forty tokens behind one beginning instead of forty texts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from saebench_lite.models.branches import MOST, Branches, branches
from saebench_lite.models.protocol import Model
from saebench_lite.models.token_rule import Positions, last

Shared = tuple[list[int], list[int]]
"Token ids of a beginning, and the numbers of the texts that have it."


def by_beginning(ids: Sequence[Sequence[int]], longest: int) -> tuple[list[Shared], list[int]]:
    """Texts that share all but their last token, at most `MOST` together, and the numbers of the other texts.

    Args:
        ids: of each text.
        longest: tokens of a beginning at most.
    """
    found: dict[tuple[int, ...], list[int]] = {}
    for i, text in enumerate(ids):
        if 1 < len(text) <= longest + 1:
            found.setdefault(tuple(text[:-1]), []).append(i)
    shared = [
        (list(beginning), rows[low : low + MOST])
        for beginning, rows in found.items()
        if len(rows) > 1
        for low in range(0, len(rows), MOST)
    ]
    taken = {i for _, rows in shared for i in rows}
    return shared, [i for i in range(len(ids)) if i not in taken]


def batches(
    lm: Model, ids: Sequence[Sequence[int]], shared: Sequence[Shared], max_tokens: int
) -> Iterator[tuple[list[int], Branches, Texts]]:
    """(numbers of texts, what the model reads, where the texts stand in it), longest beginnings first.

    Args:
        lm: the model.
        ids: of each text.
        shared: as `by_beginning` gives it.
        max_tokens: padded tokens of a batch, one row at least.
    """
    most = max((len(rows) for _, rows in shared), default=0)
    order, start = sorted(shared, key=lambda s: -len(s[0])), 0
    while start < len(order):
        part = order[start : start + max(1, max_tokens // (len(order[start][0]) + most))]
        start += len(part)
        packed = branches([b for b, _ in part], [[ids[i][-1] for i in rows] for _, rows in part], lm.device)
        yield [i for _, rows in part for i in rows], packed, _texts(lm, packed, [len(rows) for _, rows in part])


class Texts(NamedTuple):
    """The texts of a batch one by one, as rows of P + 1 tokens: the beginning, padded, and the last token."""

    at: Tensor
    "Where a token stands among all of the batch. [n, P + 1] long"
    real: Tensor
    "[n, P + 1] bool, False on padding and on special tokens."


def _texts(lm: Model, packed: Branches, counts: Sequence[int]) -> Texts:
    device, columns = packed.ids.device, packed.ids.shape[1]
    row = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)).to(device)
    nth = torch.cat([torch.arange(n) for n in counts]).to(device)
    at = torch.arange(packed.width, device=device)
    place = torch.cat([at.expand(len(row), -1), packed.width + nth[:, None]], 1)
    index = place + columns * row[:, None]
    there = torch.cat([at < packed.beginning[row][:, None], torch.ones_like(row, dtype=torch.bool)[:, None]], 1)
    special = torch.isin(packed.ids.flatten()[index], lm.special.to(device))
    return Texts(index, there & ~special)


def read(texts: Texts, positions: Positions, out: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Two tokens of each text out of a batch, the last one that is not special and the last that the rule reads.

    Returns:
        Their activations [n, 2, d], which of the two is the former [n, 2] bool, and which the latter: the first of them
        both where they are one.

    Args:
        texts: where they stand.
        positions: which tokens are read.
        out: activations of the batch. [b, P + n, d]
    """
    every = out.flatten(0, 1)
    norms = every.float().norm(dim=-1)[texts.at]
    asked, chosen = (last(real).long().argmax(1) for real in (texts.real, positions.read(texts.real, norms[..., None])))
    at = texts.at.gather(1, torch.stack([asked, chosen], 1))
    first, same = torch.tensor([True, False], device=out.device), (asked == chosen)[:, None]
    return every[at], first.expand(len(at), 2), torch.where(same, first, ~first)
