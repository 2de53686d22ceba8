"""Work in chunks that become smaller when memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

T = TypeVar("T")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had, on a GPU or in main memory."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def with_backoff(work: Callable[[int], T], rows: int, note: Callable[[str], None]) -> T:
    """work(rows), tried again with half as many rows each time memory runs out; a note says so, without a figure that
    differs from one try to the next. The error passes where a single row does not fit."""
    while True:
        try:
            return work(rows)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or rows <= 1:
                raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        rows //= 2
        note("memory ran out while encoding; smaller chunks were used")
