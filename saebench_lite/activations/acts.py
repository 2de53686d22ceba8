"""Activations of texts, token after token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from saebench_lite.models.devices import moved

TokenChoice = Literal["all", "last"]
"Which real tokens of a text are read."
MOVED = 1 << 15
"Tokens that go to a GPU together."


class Acts:
    """Activations of texts, token after token. x [tokens, d]; text i owns rows offsets[i]:offsets[i+1]."""

    def __init__(self, x: Tensor, offsets: Tensor) -> None:
        self.x, self.offsets = x, offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def d(self) -> int:
        """Width of an activation."""
        return self.x.shape[1]

    @property
    def tokens(self) -> int:
        """Number of real tokens."""
        return int(self.offsets[-1])

    def take(self, rows: np.ndarray | Tensor) -> Acts:
        """Activations of the texts `rows`, in the order given (copies)."""
        rows = torch.as_tensor(rows)
        lengths = self.offsets.diff()[rows]
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        shift = torch.repeat_interleave(self.offsets[:-1][rows] - offsets[:-1], lengths)
        return Acts(self.x[(torch.arange(len(shift)) + shift).to(self.x.device)], offsets)

    def on(self, device: str | torch.device) -> Acts:
        """The same with the activations on a device, in their own type."""
        x = torch.empty(self.x.shape, dtype=self.x.dtype, device=device)
        for into, part in zip(x.split(MOVED), self.x.split(MOVED), strict=True):
            into.copy_(moved(part, device))
        return Acts(x, self.offsets)

    def chunks(self, max_tokens: int, device: str = "cpu") -> Iterator[tuple[slice, Tensor, Tensor]]:
        """(texts, x [t, d] float32 on `device`, owner [t]: each row's text within the slice); no text is divided."""
        low = 0
        while low < len(self):
            limit = self.offsets[low] + max_tokens
            high = max(low + 1, int(torch.searchsorted(self.offsets, limit, right=True)) - 1)
            x = to_device(self.x[self.offsets[low] : self.offsets[high]], device)
            owner = torch.repeat_interleave(torch.arange(high - low), self.offsets[low : high + 1].diff()).to(device)
            yield slice(low, high), x, owner
            low = high


def to_device(x: Tensor, device: str | torch.device) -> Tensor:
    """x in float32 on `device`.

    To a GPU it is copied in its own type, from pinned memory and asynchronously: the next chunk is copied while the
    one before it is computed on.
    """
    return moved(x, device).float()
