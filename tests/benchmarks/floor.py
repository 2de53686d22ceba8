"""What a computation must cost at least on this machine, and what it does cost."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch


class Ceilings(NamedTuple):
    """Best rates of one process, measured now."""

    flops32: float
    flops64: float
    bytes: float
    "Read and written, of a large copy, a second."

    @classmethod
    def measure(cls, device: str = "cpu") -> Ceilings:
        """Matrix products of 1024 x 1024 (8192 x 8192 on a GPU), and a copy of 64 MiB (1 GiB)."""
        big = torch.randn(1 << (28 if device.startswith("cuda") else 24), device=device)
        into = torch.empty_like(big)
        return cls(
            matrix_rate(torch.float32, device),
            matrix_rate(torch.float64, device),
            2 * big.nbytes / best_of(lambda: into.copy_(big), 10, device),
        )

    def floor(self, flops32: float = 0.0, flops64: float = 0.0, moved: float = 0.0) -> float:
        """Seconds: arithmetic and traffic overlap, so the larger of the two."""
        return max(flops32 / self.flops32 + flops64 / self.flops64, moved / self.bytes)


def matrix_rate(dtype: torch.dtype, device: str = "cpu") -> float:
    """Operations a second of a square matrix product."""
    n = 8192 if device.startswith("cuda") else 1024
    a = torch.randn(n, n, device=device).to(dtype)
    return 2 * n**3 / best_of(lambda: a @ a, 10, device)


def transfer_rate(device: str) -> float:
    """Bytes a second from pinned main memory to a GPU; of a copy where there is none."""
    here = torch.empty(1 << 26, dtype=torch.uint8, pin_memory=device.startswith("cuda"))
    there = torch.empty_like(here, device=device)
    return here.nbytes / best_of(lambda: there.copy_(here, non_blocking=True), 10, device)


def best_of(work: Callable[[], object], times: int, device: str = "cpu") -> float:
    """Least seconds of several goes, after one to warm up."""
    work()
    return min(seconds(work, device) for _ in range(times))


def seconds(work: Callable[[], object], device: str = "cpu") -> float:
    """Process seconds (all threads of this process, nobody else's); on a GPU wall seconds until it is done."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
        start = time.perf_counter()
        work()
        torch.cuda.synchronize(device)
        return time.perf_counter() - start
    start = time.process_time()
    work()
    return time.process_time() - start


class Cost(NamedTuple):
    seconds: float
    peak: int
    "Bytes above what the process held before."


def cost(work: Callable[[], object]) -> Cost:
    """Process seconds and extra peak memory of one go, in a forked process (needs one thread, and Linux)."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        found = (-1.0, 0)
        try:
            Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
            before = resident()
            spent = seconds(work)
            found = (spent, peak() - before)
        finally:
            os.write(writing, json.dumps(found).encode())
            os._exit(0)
    os.close(writing)
    os.wait4(child, 0)
    spent, extra = json.loads(os.read(reading, 256))
    os.close(reading)
    if spent < 0:
        raise RuntimeError("the work failed; see above")
    return Cost(spent, max(0, extra))


def peak() -> int:
    """The most bytes of main memory that this process held since its peak was last forgotten."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return 1024 * int(line.split()[1])


def resident() -> int:
    """Bytes of main memory that this process holds."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
