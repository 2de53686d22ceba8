"""Matrix products of float32 numbers on a GPU's tensor cores, which multiply shorter numbers and add in float32.

- tf32x3: each number is a sum of shorter ones, of which three products are added, the small ones first. Activations of
  a bf16 model are bf16 numbers already: times the three bf16 pieces of a float32 weight (8 + 8 + 8 bits of mantissa)
  every product is exact, at a third of the bf16 rate. Other activations and the weights are divided into a TF32 number
  (11 bits) and the rest: high x high + high x low + low x high, at a third of the TF32 rate; what is left out is
  2^-22 of a product (Ootomo & Yokota, arXiv:2203.03341).
- bf16: one product of numbers rounded to bf16, with an error of about 2^-9 of each.

Where there are no tensor cores the same pieces are multiplied in float32: the same numbers but for the order of sums,
and no faster.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

Encode = Literal["float32", "tf32x3", "bf16"]
"How an SAE's encoder is multiplied."


def bf16_pieces(w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Three bf16 tensors, largest first, whose sum is w (float32, within bf16's range) to its last bit or nearly so."""
    first = w.bfloat16()
    rest = w - first.float()
    second = rest.bfloat16()
    return first, second, (rest - second.float()).bfloat16()


def tf32_pieces(w: Tensor) -> tuple[Tensor, Tensor]:
    """Two float32 tensors of at most 11 bits of mantissa, larger first, whose sum is w to 22 bits."""
    high = _cut(w)
    return high, _cut(w - high)


def _cut(w: Tensor) -> Tensor:
    """float32 numbers with the last 13 bits of their mantissa cleared: what a TF32 product reads of them."""
    return (w.contiguous().view(torch.int32) & ~0x1FFF).view(torch.float32)


def is_bf16(x: Tensor) -> bool:
    """Whether every number of x is one that bf16 can hold."""
    return x.dtype == torch.bfloat16 or bool((x.bfloat16() == x).all())


class Weights:
    """A weight matrix w [d, m] float32, divided for `product` when first asked for."""

    def __init__(self, w: Tensor) -> None:
        self.w = w
        self._stacked: dict[str, Tensor] = {}

    def product(self, x: Tensor, encode: Encode, which: Tensor | slice = slice(None)) -> Tensor:
        """x @ w[:, which] [n, j] float32.

        Args:
            x: rows; with tf32x3 bf16 ones are multiplied by bf16 pieces, float32 ones by TF32 pieces. [n, d]
            encode: how.
            which: columns, all by default.
        """
        if encode == "float32":
            return x.float() @ self.w[:, which]
        if encode == "bf16":
            return _product(x.bfloat16(), self._pieces("bf16")[:, which])
        if x.dtype == torch.bfloat16:
            return _product(x.repeat(1, 3), self._pieces("bf16x3")[:, which])
        high, low = tf32_pieces(x)
        with _tf32():
            return torch.cat([low, high, high], 1) @ self._pieces("tf32x3")[:, which]

    def of_row(self, v: Tensor, encode: Encode, which: Tensor | slice = slice(None)) -> Tensor:
        """v @ w[:, which] [j] in float32, of the weights that `product` reads. v [d]"""
        return v @ (self._pieces("bf16")[:, which].float() if encode == "bf16" else self.w[:, which])

    def _pieces(self, how: str) -> Tensor:
        """Pieces of w one above the other, small ones first: their products are added in that order."""
        if how not in self._stacked:
            if how == "tf32x3":
                high, low = tf32_pieces(self.w)
                self._stacked[how] = torch.cat([high, low, high])
            else:
                pieces = bf16_pieces(self.w)
                self._stacked[how] = pieces[0] if how == "bf16" else torch.cat(pieces[::-1])
        return self._stacked[how]


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b of bf16 matrices, added up and given in float32."""
    if a.is_cuda and hasattr(torch.ops.aten.mm, "dtype"):  # since torch 2.8
        return torch.ops.aten.mm.dtype(a, b, torch.float32)
    return a.float() @ b.float()


@contextmanager
def _tf32() -> Iterator[None]:
    """float32 products of CUDA tensors on the tensor cores meanwhile."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def code_differences(plain: Tensor, codes: Tensor) -> dict[str, float]:
    """What another way of multiplying changes of codes: `flipped` and `error`. Both [n, d_sae].

    flipped: codes that are zero in one and not in the other, as a share of those that are not zero in either. error:
    norm of the difference over norm of the codes.
    """
    either, apart = (plain != 0) | (codes != 0), (plain != 0) ^ (codes != 0)
    size = plain.double().norm().clamp(min=torch.finfo(torch.float64).tiny)
    return {
        "flipped": (apart.sum() / either.sum().clamp(min=1)).item(),
        "error": ((codes.double() - plain.double()).norm() / size).item(),
    }
