"""A run spread over the workers of a Ray cluster, or of this machine.

Each worker takes one shard: it loads model and data once, makes the same controls as every other worker, and writes its
records as a run without Ray does. A worker that dies is started again and finds on disk what it had finished.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from saebench_lite.errors import SaebenchError
from saebench_lite.records.record import Record
from saebench_lite.runs.sharding import Shard

RETRIES = 3
"How often a shard is started again after its worker died."


def run(
    saes: Sequence[str],
    *,
    out: str | Path,
    workers: int,
    plugins: Sequence[str] = (),
    tick: Callable[[str, int, int], None] = lambda what, done, total: None,
    say: Callable[[str], None] = lambda sentence: None,
    **arguments: Any,
) -> list[Record]:
    """`runner.run` on `workers` Ray workers; SAEs are given as specs: each worker loads them itself.

    Joins the cluster of RAY_ADDRESS if that is set. Each worker gets a GPU where `device` is cuda. Records of hosts
    that do not see `out` are written by the caller. SaebenchError without Ray, or if a shard's workers die too often.
    """
    ray = _ray(workers)
    folder = Path(out).absolute()
    progress = ray.remote(num_cpus=0)(_Progress).remote()
    wants_gpu = str(arguments.get("device", "cpu")).startswith("cuda")
    remote = ray.remote(num_cpus=1, num_gpus=int(wants_gpu), max_retries=RETRIES)(_shard)
    shared = arguments | {"saes": list(saes), "out": folder}
    waiting = [remote.remote(Shard(i + 1, workers), shared, list(plugins), progress) for i in range(workers)]
    of = {ref: i + 1 for i, ref in enumerate(waiting)}
    records: list[Record] = []
    while waiting:
        ready, waiting = ray.wait(waiting, timeout=1.0)
        for ref in ready:
            records += _result(ray, ref, f"{of[ref]}/{workers}", folder, say)
        tick("evaluations", *ray.get(progress.total.remote()))
    return records


def _ray(workers: int) -> Any:
    try:
        import ray  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise SaebenchError(
            "--engine ray needs the package ray; install it with: pip install saebench-lite[ray]"
        ) from error
    if not ray.is_initialized():
        where = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers, "include_dashboard": False}
        ray.init(log_to_driver=False, **where)  # type: ignore[arg-type]
    return ray


def _result(ray: Any, ref: Any, shard: str, folder: Path, say: Callable[[str], None]) -> list[Record]:
    """A shard's records, saved here too where this host lacks them."""
    try:
        records, sentences = ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, SaebenchError):
            raise SaebenchError(str(error.cause)) from error
        raise
    except ray.exceptions.RayError as error:
        raise SaebenchError(
            f"the workers of shard {shard} died {RETRIES + 1} times ({type(error).__name__});"
            " finished records are kept, run again to do the rest"
        ) from error
    for sentence in sentences:
        say(sentence)
    for record in records:
        if not record.path(folder).exists():
            record.save(folder)
    return records


class _Progress:
    """Counts what each shard has done; lives in a process of its own."""

    def __init__(self) -> None:
        self.parts: dict[int, tuple[int, int]] = {}

    def report(self, shard: int, done: int, total: int) -> None:
        self.parts[shard] = (done, total)

    def total(self) -> tuple[int, int]:
        return sum(d for d, _ in self.parts.values()), sum(t for _, t in self.parts.values())


def _shard(
    shard: Shard, arguments: dict[str, Any], plugins: list[str], progress: Any
) -> tuple[list[Record], list[str]]:
    """One worker's share: its records, and what was said."""
    from saebench_lite import registry
    from saebench_lite.runs import runner

    for module in plugins:
        registry.add_plugin(module)
    sentences: list[str] = []

    def tick(what: str, done: int, total: int) -> None:
        if what == "evaluations":
            progress.report.remote(shard.index, done, total)

    records = runner.run(**arguments, shard=Shard(*shard), tick=tick, say=sentences.append)
    return records, sentences
