"""Throughput of a Ray cluster by number of workers, and what is left after one of them is killed.

OMP_NUM_THREADS=1 python -m tests.experiments.ray_workers > results/bench/ray.md
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from saebench_lite.bundled import sae_folders
from saebench_lite.records.record import read_all
from saebench_lite.runs.runner import run

HOOK = "blocks.2.hook_resid_post"
ARGUMENTS: dict[str, Any] = {
    "model": "pico",
    "hook": HOOK,
    "tasks": ["reconstruction", "sparse_probing"],
    "baselines": [],
    "settings": {"reconstruction": {"max_tokens": 10_000}, "sparse_probing": {"ks": (1, 5)}},
    "seeds": 1,
    "limit": 2,
}


def start(ray: Any, workers: int) -> None:
    """A cluster of its own on this machine, one thread a worker, modules loaded and processes running."""
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": environment})


def timed(ray: Any, workers: int, saes: Sequence[str], cache: Path) -> tuple[float, float, int]:
    """Seconds to the first record, seconds in all, and records of one run into a fresh folder."""
    with tempfile.TemporaryDirectory() as out:
        start(ray, workers)
        first: list[float] = []
        begun = time.perf_counter()

        class First:
            def update(self, stage: str, done: int, total: int) -> None:
                if done and not first:
                    first.append(time.perf_counter() - begun)

        records = run(saes, out=out, engine="ray", workers=workers, cache=cache, progress=First(), **ARGUMENTS)
        spent = time.perf_counter() - begun
        ray.shutdown()
        return first[0], spent, len(records)


def killed(ray: Any, saes: Sequence[str], cache: Path) -> dict[str, int]:
    """Counts of a run of two workers, one of which is killed once half of the records are written."""
    wanted = len(saes) * len(ARGUMENTS["tasks"])
    with tempfile.TemporaryDirectory() as out:
        start(ray, 2)
        killed: list[int] = []

        def kill() -> None:
            while not killed:
                written = len(list(Path(out).rglob("*.json")))
                pids = [p for p in _shard_workers() if written >= wanted // 2]
                if pids:
                    killed.append(pids[0])
                    os.kill(pids[0], signal.SIGKILL)
                time.sleep(0.05)

        threading.Thread(target=kill, daemon=True).start()
        records = run(saes, out=out, engine="ray", workers=2, cache=cache, **ARGUMENTS)
        found, complaints = read_all(Path(out))
        killed.append(0)  # ends the thread where nothing was left to kill
        ray.shutdown()
        return {
            "workers killed": sum(pid > 0 for pid in killed),
            "records wanted": wanted,
            "records returned": len(records),
            "distinct": len({r.digest for r in records}),
            "on disk": len(found),
            "unreadable": len(complaints),
            "failed": sum(r.status != "ok" for r in found),
        }


def _shard_workers() -> list[int]:
    """Descendants of this process that are at work on a shard: Ray names a worker's process after its function."""
    parents, working = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            pid, stat = int(folder.name), (folder / "stat").read_text()
            parents[pid] = int(stat.rpartition(")")[2].split()[1])
            if b"ray::_shard" in (folder / "cmdline").read_bytes():
                working.append(pid)
        except OSError:  # it ended while we looked
            continue

    def ours(pid: int) -> bool:
        while pid in parents and pid != os.getpid():
            pid = parents[pid]
        return pid == os.getpid()

    return [pid for pid in working if ours(pid)]


def main() -> None:
    import ray  # pyright: ignore[reportMissingImports]

    saes = [str(folder) for folder in sae_folders()]
    print("# Ray workers\n")
    print("`OMP_NUM_THREADS=1 python -m tests.experiments.ray_workers > results/bench/ray.md`\n")
    print(f"A local cluster on {os.cpu_count()} cores, one thread a worker; {len(saes)} bundled SAEs on two tasks,")
    print(
        "activations cached beforehand. Start: until the first record (processes, modules, model, SAEs, probes' rows),"
    )
    print("which every worker pays for itself; records a minute counts what comes after it.\n")
    print("| workers | records | start s | all s | records / min, start left out | records / min, in all |")
    print("|---|---|---|---|---|---|")
    rows = []
    with tempfile.TemporaryDirectory() as cache, redirect_stdout(sys.stderr):  # Ray prints about the dead worker
        timed(ray, 1, saes[:1], Path(cache))
        for workers in (1, 2, 4):
            first, spent, records = timed(ray, workers, saes, Path(cache))
            rates = 60 * (records - 1) / (spent - first), 60 * records / spent
            rows.append(f"| {workers} | {records} | {first:.1f} | {spent:.1f} | {rates[0]:.0f} | {rates[1]:.0f} |")
        counts = killed(ray, saes, Path(cache))
    print("\n".join(rows))
    print("\nOne of two workers killed (SIGKILL) once half of the records were written:", end=" ")
    print(", ".join(f"{name} {count}" for name, count in counts.items()) + ".")


if __name__ == "__main__":
    main()
