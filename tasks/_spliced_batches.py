"""Batches of texts into whose activations something is spliced, and sums of their losses by bootstrap block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from saebench_lite.models.protocol import Prefix
from saebench_lite.models.tokens import TokenBatch


class Piece(NamedTuple):
    """One batch and all that a splice needs of the model's first layers."""

    batch: TokenBatch
    prefix: Prefix
    final: Tensor
    "Output of the last block, [b, L, d]: the clean predictions without storing them."
    block: Tensor
    "Bootstrap block of each text. [b]"
    at: Tensor
    "Where the real tokens stand among all of the batch. [n_real] long"
    clean: Tensor | None = None
    "What predictions are compared with [b, L-1, V]; None where those of all pieces do not fit in memory."


def counted(batch: TokenBatch) -> Tensor:
    """Positions whose prediction counts: a real token followed by any token. [b, L-1] bool"""
    return batch.real[:, :-1] & batch.attention[:, 1:]


def by_text(values: Tensor, piece: Piece) -> Tensor:
    """Sums the counted values [b, L-1] of a batch by text, on their device. [b] float64"""
    return torch.where(counted(piece.batch).to(values.device), values, 0.0).double().sum(1)


def by_block(sums: Sequence[Tensor], pieces: Sequence[Piece], blocks: int) -> Tensor:
    """Sums by text of each piece [b], summed by bootstrap block: [blocks] float64. A GPU is waited for once."""
    out = torch.zeros(blocks, dtype=torch.float64)
    for piece, part in zip(pieces, torch.cat(list(sums)).cpu().split([len(s) for s in sums]), strict=True):
        out += torch.zeros_like(out).index_add_(0, piece.block, part)
    return out


def real_rows(piece: Piece) -> Tensor:
    """Activations at the real tokens of a batch. [n_real, d]"""
    return piece.prefix.acts.flatten(0, 1)[piece.at]


def replace_real(piece: Piece, rows: Tensor) -> Tensor:
    """The activation [b, L, d] with its real positions replaced by rows [n_real, d]."""
    acts = piece.prefix.acts
    return acts.flatten(0, 1).index_copy(0, piece.at, rows.to(acts.dtype)).view_as(acts)
