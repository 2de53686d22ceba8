"""Texts that differ in their last token alone, in one row of a batch: their beginning is read once for all of them.

A row holds the beginning and then the last tokens, each of which sees the beginning and itself and stands at the place
behind it. For a causal model the activations are those of the texts one by one. The mask is one of four dimensions,
which transformers hands to attention as it is. Whether an architecture heeds it is measured on a few tokens: a state
space model mixes the rows, and one that counts places by a mask of two dimensions fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from saebench_lite.errors import contained
from saebench_lite.models.tokens import TokenBatch

EXACT, ROUNDED = 1e-4, 3e-2
"Largest relative difference that passes as rounding, in float32 and in half precision."


class Branches(NamedTuple):
    """Rows of a beginning, padded on its right, and the last tokens of the texts that share it, padded likewise."""

    ids: Tensor
    "[b, P + n] long"
    attention: Tensor
    "[b, P + n] bool, False on padding."
    width: int
    "P, columns of the beginnings."

    @property
    def beginning(self) -> Tensor:
        """Tokens of each row's beginning. [b]"""
        return self.attention[:, : self.width].sum(1)

    def sees(self) -> Tensor:
        """Whether a token (row) sees another (column): [b, P + n, P + n] bool. Padding sees itself."""
        at = torch.arange(self.ids.shape[1], device=self.ids.device)
        before = (at[None, :] < self.beginning[:, None])[:, None, :] & (at[:, None] >= at[None, :])
        return before | torch.eye(len(at), dtype=torch.bool, device=at.device)

    def places(self) -> Tensor:
        """The place of each token in its text: [b, P + n] long."""
        at = torch.arange(self.ids.shape[1], device=self.ids.device).expand_as(self.ids)
        return torch.where(at < self.width, at, self.beginning[:, None])

    def inputs(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """What a Hugging Face model of a dtype is called with."""
        return {"input_ids": self.ids, "attention_mask": self.mask(dtype), "position_ids": self.places()}

    def mask(self, dtype: torch.dtype) -> Tensor:
        """What is added to attention scores: 0 where a token sees another, else the least number. [b, 1, L, L]"""
        least = torch.finfo(dtype).min
        return torch.zeros(1, dtype=dtype, device=self.ids.device).where(self.sees()[:, None], least)


def branches(beginnings: Sequence[Sequence[int]], last: Sequence[Sequence[int]], device: torch.device) -> Branches:
    """Rows on a device: row i is `beginnings[i]` with `last[i]`, the last tokens of its texts."""
    width, most = max(map(len, beginnings)), max(map(len, last))
    ids = torch.zeros(len(last), width + most, dtype=torch.long)
    attention = torch.zeros_like(ids, dtype=torch.bool)
    for i, (beginning, ends) in enumerate(zip(beginnings, last, strict=True)):
        for low, tokens in ((0, beginning), (width, ends)):
            ids[i, low : low + len(tokens)] = torch.tensor(tokens)
            attention[i, low : low + len(tokens)] = True
    return Branches(ids.to(device), attention.to(device), width)


class Reader(Protocol):
    """A model that may take branches."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        ...

    def collect(self, batch: TokenBatch | Branches, hooks: Sequence[str]) -> dict[str, Tensor]:
        """Activations {hook: [b, L, d]}."""
        ...


def heeded(model: Reader, hook: str, tokens: int) -> bool:
    """Whether a model gives texts in branches the activations that they have one by one.

    Args:
        model: reads a few tokens.
        hook: where it is asked.
        tokens: ids that the model knows.
    """
    top, device = min(tokens, 100), model.device
    beginnings = [[(7 * i + 1) % top for i in range(6)], [(5 * i + 2) % top for i in range(4)]]
    last = [[3 % top, 11 % top], [8 % top, 13 % top, 21 % top]]
    packed = branches(beginnings, last, device)
    texts = [(i, packed.width + j, [*beginnings[i], end]) for i, ends in enumerate(last) for j, end in enumerate(ends)]
    try:
        with contained():
            out = model.collect(packed, [hook])[hook]
            return all(_near(out[row, place], _alone(model, hook, text)) for row, place, text in texts)
    except Exception:  # noqa: BLE001  (whatever an architecture makes of a mask that it does not know)
        return False


def _alone(model: Reader, hook: str, text: Sequence[int]) -> Tensor:
    """Activation [d] of the last token of a text."""
    ids = torch.tensor([list(text)], device=model.device)
    on = torch.ones_like(ids, dtype=torch.bool)
    return model.collect(TokenBatch(ids, on, on), [hook])[hook][0, -1]


def _near(packed: Tensor, alone: Tensor) -> bool:
    room = EXACT if alone.dtype == torch.float32 else ROUNDED
    return bool((packed.float() - alone.float()).norm() <= room * alone.float().norm())
