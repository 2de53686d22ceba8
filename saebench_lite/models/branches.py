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
from saebench_lite.models.limits import window_of
from saebench_lite.models.tokens import TokenBatch

MOST = 64
"Texts of a row at most: its mask grows with their square."
BEGINNINGS = (24, 4)
"Tokens of the beginnings on which a model is asked."
EXACT, ROUNDED = 1e-4, 3e-2
"Relative difference that passes as rounding in float32, and in half precision at least."
MASKED = ("eager", "sdpa")
"Implementations of attention that add a mask of four dimensions; flash attention would read it as one of two."
LONGEST = 1024
"Tokens of a beginning at most: the mask grows with their square too."


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


def longest_beginning(context: int, config: object) -> int:
    """Tokens of a beginning at most where the mask is heeded; 0 for a model that takes none.

    Args:
        context: tokens that the model takes; rows are no longer, nor than attention looks back.
        config: of the text model.
    """
    sees = min(context, window_of(config))
    masked = getattr(config, "_attn_implementation", None) in MASKED
    most = min(sees // 2, sees - MOST, LONGEST) if masked else 0
    return most if most >= max(BEGINNINGS) else 0


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

    A row is as full as any: the last tokens of a full row stand furthest from where a model that counts columns would
    have them, and one that mixes them has mixed the most. In half precision what passes as rounding is at least four
    times what padding does to the same texts.

    Args:
        model: reads a few hundred tokens.
        hook: where it is asked.
        tokens: ids that the model knows.
    """
    top, device = min(tokens, 100), model.device
    beginnings = [[(7 * i + 1) % top for i in range(n)] for n in BEGINNINGS]
    ends = [(11 * i + 3) % top for i in range(MOST - 1)]
    texts = [[*beginning, ends[0]] for beginning in beginnings]
    packed = branches(beginnings, [[*ends, ends[0]]] * len(beginnings), device)
    try:
        with contained():
            alone = torch.stack([_last(model, hook, [text])[0] for text in texts])
            room = EXACT
            if torch.finfo(alone.dtype).eps > 1e-6:
                room = max(ROUNDED, 4 * _apart(_last(model, hook, texts), alone))
            out = model.collect(packed, [hook])[hook]
            return all(_apart(out[:, place], alone) <= room for place in (packed.width, -1))
    except Exception:  # noqa: BLE001  (whatever an architecture makes of a mask that it does not know)
        return False


def _last(model: Reader, hook: str, texts: Sequence[Sequence[int]]) -> Tensor:
    """Activations [b, d] of the last tokens of texts in one batch."""
    lengths = torch.tensor([len(text) for text in texts], device=model.device)
    ids = torch.zeros(len(texts), int(lengths.max()), dtype=torch.long, device=model.device)
    for i, text in enumerate(texts):
        ids[i, : len(text)] = torch.tensor(list(text))
    on = torch.arange(ids.shape[1], device=model.device) < lengths[:, None]
    out, rows = model.collect(TokenBatch(ids, on, on), [hook])[hook], torch.arange(len(texts), device=model.device)
    return out[rows, lengths - 1]


def _apart(a: Tensor, b: Tensor) -> float:
    """Largest distance of rows of a from those of b [n, d], as a share of the latter's norms; NaN where one is."""
    return ((a.float() - b.float()).norm(dim=-1) / b.float().norm(dim=-1)).max().item()
