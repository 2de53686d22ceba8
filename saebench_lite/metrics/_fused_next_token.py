"""Losses and divergences in one pass over the logits, as Triton kernels; `next_token` has the plain formulas.

A program reads one row of V logits in blocks. Each lane keeps the maximum m of what it read, the sum of exp(x - m), and
for the divergence that of exp(p - m) (p - q); lanes are merged at the end: KL = E_p[p - q] - log Z_p + log Z_q.
"""

# pyright: reportMissingParameterType=false
# ruff: noqa: ANN001, ANN202  (Triton looks up the names in annotations of kernels)
from __future__ import annotations

from typing import Any

import torch
import triton  # pyright: ignore[reportMissingImports]  (comes with CUDA builds of torch)
import triton.language as tl  # pyright: ignore[reportMissingImports]  (the same)
from torch import Tensor

BLOCK = 4096
LEAST: Any = tl.constexpr(-3.0e38)
"Stands for minus infinity, from which itself can be subtracted."


@triton.jit
def _merged(m, s):
    """Largest of the lanes' maxima, and log of the sum of all exponentials."""
    top = tl.max(m, 0)
    return top, top + tl.log(tl.sum(s * tl.exp(m - top), 0))


@triton.jit
def _kernel(
    clean,
    spliced,
    ids,
    loss,
    gap,
    length,
    vocabulary: tl.constexpr,
    clean_text,
    clean_row,
    spliced_text,
    spliced_row,
    ids_text,
    compared: tl.constexpr,
    block: tl.constexpr,
):
    """One row; long: a kernel's arguments are pointers and strides, one a line."""
    row = tl.program_id(0).to(tl.int64)
    text, place = row // length, row % length
    q_row = spliced + text * spliced_text + place * spliced_row
    p_row = clean + text * clean_text + place * clean_row
    q_top, q_sum = tl.full([block], LEAST, tl.float32), tl.zeros([block], tl.float32)
    p_top, p_sum = tl.full([block], LEAST, tl.float32), tl.zeros([block], tl.float32)
    apart = tl.zeros([block], tl.float32)
    for start in range(0, vocabulary, block):
        column = start + tl.arange(0, block)
        inside = column < vocabulary
        q = tl.load(q_row + column, mask=inside, other=LEAST).to(tl.float32)
        top = tl.maximum(q_top, q)
        q_sum = q_sum * tl.exp(q_top - top) + tl.where(inside, tl.exp(q - top), 0.0)
        q_top = top
        if compared:
            p = tl.load(p_row + column, mask=inside, other=LEAST).to(tl.float32)
            top = tl.maximum(p_top, p)
            before, now = tl.exp(p_top - top), tl.where(inside, tl.exp(p - top), 0.0)
            p_sum = p_sum * before + now
            apart = apart * before + now * tl.where(inside, p - q, 0.0)
            p_top = top
    _, q_log = _merged(q_top, q_sum)
    target = tl.load(ids + text * ids_text + place)
    tl.store(loss + row, q_log - tl.load(q_row + target).to(tl.float32))
    if compared:
        top, p_log = _merged(p_top, p_sum)
        mean = tl.sum(apart * tl.exp(p_top - top), 0) / tl.exp(p_log - top)
        tl.store(gap + row, mean - p_log + q_log)


def _run(clean: Tensor | None, spliced: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    spliced, ids = _rows(spliced), _rows(ids)
    p = spliced if clean is None else _rows(clean)
    b, length, vocabulary = spliced.shape
    loss, gap = (torch.empty(b, length, device=spliced.device) for _ in range(2))
    if loss.numel():
        run: Any = _kernel
        run[(b * length,)](
            p,
            spliced,
            ids,
            loss,
            gap,
            length,
            vocabulary,
            *p.stride()[:2],
            *spliced.stride()[:2],
            ids.stride(0),
            compared=clean is not None,
            block=BLOCK,
            num_warps=8,
        )
    return loss, gap


def _rows(t: Tensor) -> Tensor:
    """The tensor with its last dimension in one piece."""
    return t if t.stride(-1) == 1 else t.contiguous()


def losses(logits: Tensor, ids: Tensor) -> Tensor:
    """Cross-entropy [b, n] float32 of the tokens ids [b, n] under logits [b, n, V]."""
    return _run(None, logits, ids)[0]


def losses_and_divergence(clean: Tensor, spliced: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """`losses` of spliced logits, and KL(clean || spliced) in nats, both [b, n].

    Args:
        clean: logits. [b, n, V]
        spliced: logits. [b, n, V]
        ids: tokens. [b, n]
    """
    return _run(clean, spliced, ids)
