"""Activations of a corpus on their way from a model into memory, or into a file of the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from saebench_lite.activations.cache_entry import HEADER, all_finite, close_entry, offsets_of, reserve
from saebench_lite.models.devices import moved


class Fill:
    """Activations x [tokens, d] to be filled in: in memory, on a GPU, or in a memory-mapped cache entry.

    There is room for `lengths` tokens of each text; what is not used is given back at the end. All bytes of a file are
    reserved first: a disk that is full is an OSError here, and not a fault of memory when the map is written. No batch
    is waited for on a GPU.

    Args:
        path: where to write the entry; None for memory.
        lengths: tokens of each text, at most. [texts]
        d: columns of x.
        dtype: of x.
        device: where x is held, without a path.
    """

    def __init__(
        self, path: Path | None, lengths: Tensor, d: int, dtype: torch.dtype, device: torch.device | str = "cpu"
    ) -> None:
        self.path, self.asked = path, int(lengths.sum())
        self.lengths = lengths.to(device, copy=True)
        self.offsets = offsets_of(lengths)
        self._starts = self.lengths.cumsum(0) - self.lengths
        self._odd, self._left_out = torch.zeros_like(self.lengths), torch.zeros_like(self.lengths)
        self._pending: Callable[[], None] | None = None
        self._map: np.memmap | None = None
        rows = self.asked + 1  # the last one takes what no statistic reads
        size = rows * d * dtype.itemsize
        if path is None:
            self.x = torch.empty(rows, d, dtype=dtype, device=device)
            return
        reserve(path, HEADER + size + 8 * len(self.offsets))
        self._map = np.memmap(path, mode="r+", offset=HEADER, shape=(size,), dtype=np.uint8)
        self.x = torch.from_numpy(self._map).view(dtype).view(rows, d)

    def put(self, rows: Sequence[int], x: Tensor, asked: Tensor, chosen: Tensor) -> None:
        """Takes in activations of some texts.

        Args:
            rows: the texts of the batch.
            x: their activations. [b, L, d]
            asked: tokens that would be read if the rule of the site left none out. [b, L] bool
            chosen: those that are. [b, L] bool
        """
        at = moved(torch.tensor(rows), self.x.device)
        if x.device.type == self.x.device.type:
            self._place(at, x, asked, chosen)
            return
        here = [t.to("cpu", non_blocking=x.is_cuda) for t in (x, asked, chosen)]  # into pinned memory
        there = torch.cuda.current_stream(x.device).record_event() if x.is_cuda else None
        self._settle()  # the batch before, while this one is copied and the model reads the next
        self._pending = partial(self._placed_after, there, at, *here)

    def _place(self, rows: Tensor, x: Tensor, asked: Tensor, chosen: Tensor) -> None:
        """What `put` does, with all on the device of x."""
        at = torch.where(chosen, self._starts[rows][:, None] + chosen.cumsum(1) - 1, self.asked)
        self.x.index_copy_(0, at.flatten(), x.flatten(0, 1).to(self.x.dtype))
        self.lengths[rows] = chosen.sum(1)
        self._left_out[rows] = (asked & ~chosen).sum(1)
        if not x.is_cpu or not all_finite(x[asked]):  # on a GPU the answer would be waited for
            self._odd[rows] = (~x.isfinite() & asked[..., None]).flatten(1).sum(1)

    def _placed_after(self, event: torch.cuda.Event | None, *batch: Tensor) -> None:
        if event is not None:
            event.synchronize()
        self._place(*batch)

    def _settle(self) -> None:
        if self._pending is not None:
            self._pending()
            self._pending = None

    def odd(self) -> Tensor:
        """Numbers of each text that are not finite, once all texts are there. [texts]"""
        self._settle()
        return self._odd.cpu()

    def left_out(self) -> int:
        """Tokens that were asked for and not chosen, once all texts are there."""
        self._settle()
        return int(self._left_out.sum())

    def complete(self, cut: int) -> None:
        """Closes the gaps of tokens that were left out, and the cache entry, where there is one: it is read anew.

        Args:
            cut: texts that were cut to the context.
        """
        left_out = self.left_out()
        self.offsets = offsets_of(self.lengths.cpu())
        tokens, d, dtype = int(self.offsets[-1]), self.x.shape[1], self.x.dtype
        if tokens < self.asked:
            for start, (low, high) in zip(self._starts.tolist(), pairwise(self.offsets.tolist()), strict=True):
                self.x[low:high] = self.x[start : start + high - low].clone()  # towards the front, text after text
        self.x = self.x[:tokens]
        if self.path is not None and self._map is not None:
            self._map.flush()
            self._map, self.x = None, self.x.new_empty(0, d)  # before the file gets shorter under them
            close_entry(self.path, cut, self.asked, left_out, self.offsets, (tokens, d, dtype))
