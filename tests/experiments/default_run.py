"""The default run by the clock: `python -m tests.experiments.default_run > results/bench/default-run.md`.

`saebench-lite run` on a terminal of its own with an empty cache and an empty folder: seconds until a first table is
there, until all is done, and of the processors. They go with the machine's speed, which is measured before and after.
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

import torch

from saebench_lite.records.record import read_all
from saebench_lite.runs.provenance import environment
from tests.benchmarks.floor import matrix_rate

TABLE = "SAEs ---"
"Stands in a table on a terminal and nowhere else."
ROWS, COLUMNS = 50, 120


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


def main() -> None:
    busy, rates = os.getloadavg()[0], [_rate()]
    with TemporaryDirectory() as folder:
        run = [sys.executable, "-m", "saebench_lite", "run", "--out", f"{folder}/out", "--cache", f"{folder}/cache"]
        status, first, whole = on_a_terminal(run)
        records, _ = read_all(Path(folder) / "out")
    rates.append(_rate())
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"""# The default run

`python -m tests.experiments.default_run > results/bench/default-run.md`, by commit {environment()["code"]}

`saebench-lite run` on {os.cpu_count()} cores (load before: {busy:.1f}), with an empty cache: exit status {status}.

| | seconds |
|---|---|
| until a first table | {"–" if first is None else f"{first:.0f}"} |
| until all {len(records)} records and the tables are there | {whole:.0f} |
| of the processors | {used.ru_utime + used.ru_stime:.0f} |

Float32 products on one core before and after: {rates[0]:.0f} and {rates[1]:.0f} GFLOP/s.""")


if __name__ == "__main__":
    main()
