"""What a computation must cost at least on this machine, and what it does cost."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import NamedTuple

import torch


class Ceilings(NamedTuple):
    """Best rates of one process, measured now."""

    flops32: float
    flops64: float
    bytes: float
    "Read and written, of a large copy, a second."

    @classmethod
    def measure(cls) -> Ceilings:
        """Matrix products of 1024 x 1024, and a copy of 64 MiB."""
        a = torch.randn(1024, 1024)
        b = a.double()
        big = torch.randn(1 << 24)
        into = torch.empty_like(big)
        return cls(
            2 * 1024**3 / best_of(lambda: a @ a, 10),
            2 * 1024**3 / best_of(lambda: b @ b, 10),
            2 * big.nbytes / best_of(lambda: into.copy_(big), 10),
        )

    def floor(self, flops32: float = 0.0, flops64: float = 0.0, moved: float = 0.0) -> float:
        """Seconds: arithmetic and traffic overlap, so the larger of the two."""
        return max(flops32 / self.flops32 + flops64 / self.flops64, moved / self.bytes)


def best_of(work: Callable[[], object], times: int) -> float:
    """Least process seconds of several goes, after one to warm up."""
    work()
    return min(seconds(work) for _ in range(times))


def seconds(work: Callable[[], object]) -> float:
    """Process seconds (all threads of this process, nobody else's)."""
    start = time.process_time()
    work()
    return time.process_time() - start


class Cost(NamedTuple):
    seconds: float
    peak: int
    "Bytes above what the process held before."


def cost(work: Callable[[], object]) -> Cost:
    """Process seconds and extra peak memory of one go, in a forked process (needs one thread)."""
    before = resident()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        spent = -1.0
        try:
            spent = seconds(work)
        finally:
            os.write(writing, repr(spent).encode())
            os._exit(0)
    os.close(writing)
    _, _, usage = os.wait4(child, 0)
    spent = float(os.read(reading, 64))
    os.close(reading)
    if spent < 0:
        raise RuntimeError("the work failed; see above")
    return Cost(spent, max(0, usage.ru_maxrss * 1024 - before))


def resident() -> int:
    """Bytes of main memory that this process holds."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
