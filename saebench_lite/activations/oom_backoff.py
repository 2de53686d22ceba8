"""Smaller chunks when memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from saebench_lite.errors import out_of_memory
from saebench_lite.progress import warn

T = TypeVar("T")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that an allocation failed, on a GPU or in main memory."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError | MemoryError) and out_of_memory(error)
    )


def with_backoff(work: Callable[[int], T], rows: int) -> T:
    """work(rows), repeated with half as many rows each time it runs out of memory.

    Warns in a sentence without the number of rows, so that records stay comparable. Raises the error where a single
    row does not fit.
    """
    while True:
        try:
            return work(rows)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or rows <= 1:
                raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        rows //= 2
        warn("memory ran out while encoding; smaller chunks were used")
