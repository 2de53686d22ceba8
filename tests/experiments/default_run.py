"""The default run by the clock: `python -m tests.experiments.default_run > results/bench/default-run.md`.

`saebench-lite run` on a terminal of its own with an empty cache and an empty folder: seconds until a first table is
there, until all is done, and of the processors. They go with the machine's speed, which is measured before each.
"""

from __future__ import annotations

import os
import pty
import resource
import struct
import sys
import termios
import time
from fcntl import ioctl
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch

from saebench_lite.records.record import read_all
from saebench_lite.runs.provenance import environment
from tests.benchmarks.floor import matrix_rate

TABLE = "SAEs ---"
"Stands in a table on a terminal and nowhere else."
ROWS, COLUMNS = 50, 120
RUNS = 3


def on_a_terminal(words: list[str]) -> tuple[int, float | None, float]:
    """(exit status, seconds until a first table or None, seconds in all) of a command."""
    started, first, seen = time.monotonic(), None, ""
    child, end = pty.fork()
    if child == 0:
        ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        os.execvp(words[0], words)
    while piece := _read(end):
        seen = (seen + piece)[-4096:]
        if first is None and TABLE in seen:
            first = time.monotonic() - started
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), first, time.monotonic() - started


def _read(end: int) -> str:
    """What the command wrote meanwhile, "" once it has ended."""
    try:
        return os.read(end, 1 << 16).decode(errors="replace")
    except OSError:  # Linux's way to say that the other end is closed
        return ""


def _rate() -> float:
    """Products of matrices on one core, float32 GFLOP/s."""
    torch.set_num_threads(1)
    return matrix_rate(torch.float32) / 1e9


class Timed(NamedTuple):
    """One run."""

    status: int
    first: float | None
    "Seconds until a first table."
    whole: float
    "Seconds in all."
    used: float
    "Seconds of the processors."
    records: int
    rate: float
    "Of the machine, before it."


def timed() -> Timed:
    """A run with an empty cache into an empty folder."""
    rate, before = _rate(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with TemporaryDirectory() as folder:
        run = [sys.executable, "-m", "saebench_lite", "run", "--out", f"{folder}/out", "--cache", f"{folder}/cache"]
        status, first, whole = on_a_terminal(run)
        records, _ = read_all(Path(folder) / "out")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Timed(status, first, whole, used, len(records), rate)


def main() -> None:
    busy = os.getloadavg()[0]
    runs = [timed() for _ in range(RUNS)]
    (records,), statuses = {r.records for r in runs}, sorted({r.status for r in runs})
    rows = {
        "seconds until a first table": ["–" if r.first is None else f"{r.first:.0f}" for r in runs],
        f"seconds until all {records} records and the tables are there": [f"{r.whole:.0f}" for r in runs],
        "seconds of the processors": [f"{r.used:.0f}" for r in runs],
        "float32 products on one core before it, GFLOP/s": [f"{r.rate:.0f}" for r in runs],
    }
    print(f"""# The default run

`python -m tests.experiments.default_run > results/bench/default-run.md`, by commit {environment()["code"]}

`saebench-lite run` on {os.cpu_count()} cores (load before: {busy:.1f}), with an empty cache, {RUNS} times one after
another: exit status {", ".join(map(str, statuses))}.

| | {" | ".join(f"run {i + 1}" for i in range(RUNS))} |
|---|{"---|" * RUNS}""")
    for name, values in rows.items():
        print(f"| {name} | {' | '.join(values)} |")


if __name__ == "__main__":
    main()
