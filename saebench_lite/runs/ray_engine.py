"""A run spread over the workers of a Ray cluster, or of this machine.

Each worker takes one shard: it loads model and data once, makes the same controls as every other worker, and writes its
records as a run without Ray does. A worker that dies is started again and finds on disk what it had finished.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from saebench_lite.errors import SaebenchError
from saebench_lite.names import AUTO_DEVICE
from saebench_lite.progress import Progress, logger, messages_to
from saebench_lite.records.record import Record
from saebench_lite.runs import local_engine
from saebench_lite.runs.config import WORKERS, RunConfig
from saebench_lite.runs.live import Live
from saebench_lite.runs.sharding import Shard

RETRIES = 3
"How often a shard is started again after its worker died."


def run(config: RunConfig, live: Live, progress: Progress) -> Iterator[Record]:
    """Records of a run on `config.workers` Ray workers, shard by shard as they end.

    Joins the cluster of RAY_ADDRESS if that is set. Each worker gets a GPU where `device` is cuda, or auto and the
    cluster has GPUs. Records of hosts that do not see `out` are written by the caller. SaebenchError without Ray,
    for live objects (each worker loads all it needs itself), or if a shard's workers die too often.
    """
    if live.names:
        raise SaebenchError(
            f"engine 'ray' cannot hand live objects ({', '.join(live.names)}) to its workers; give specs and names"
        )
    workers = config.workers or WORKERS
    ray = _ray(workers)
    folder = Path(config.out or "").absolute()
    counter = ray.remote(num_cpus=0)(_Counter).remote()
    gpus = _gpus(config.device, ray.cluster_resources())
    remote = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES)(_shard)
    parts = [Shard(i + 1, workers) for i in range(workers)]
    cache = None if config.cache is None else config.cache.absolute()
    alone = dataclasses.replace(config, engine="local", workers=None, out=folder, cache=cache)
    of = {remote.remote(dataclasses.replace(alone, shard=part), counter): part for part in parts}
    waiting = list(of)
    while waiting:
        ready, waiting = ray.wait(waiting, timeout=1.0)
        for ref in ready:
            yield from _result(ray, ref, of[ref], folder)
        with suppress(ray.exceptions.RayError):  # whoever counts may die; the work goes on
            progress.update("evaluations", *ray.get(counter.total.remote()))


def _gpus(device: str, resources: Mapping[str, float]) -> int:
    """GPUs that each worker asks the cluster for."""
    return int(device.startswith("cuda") or (device == AUTO_DEVICE and resources.get("GPU", 0) >= 1))


def _ray(workers: int) -> Any:
    try:
        import ray
    except ImportError as error:
        raise SaebenchError(
            "engine 'ray' needs the package ray; install it with: pip install saebench-lite[ray]"
        ) from error
    if not ray.is_initialized():
        where = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers, "include_dashboard": False}
        ray.init(log_to_driver=False, **where)
    return ray


def _result(ray: Any, ref: Any, shard: Shard, folder: Path) -> list[Record]:
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
        logger.warning(sentence)
    for record in records:
        if not record.path(folder).exists():
            record.save(folder)
    return records


class _Counter:
    """Counts what each shard has done; lives in a process of its own."""

    def __init__(self) -> None:
        self.parts: dict[int, tuple[int, int]] = {}

    def report(self, shard: int, done: int, total: int) -> None:
        self.parts[shard] = (done, total)

    def total(self) -> tuple[int, int]:
        return sum(d for d, _ in self.parts.values()), sum(t for _, t in self.parts.values())


class _Reporter:
    """Progress of a worker, sent to the counter."""

    def __init__(self, counter: Any, shard: Shard) -> None:
        self.counter, self.shard = counter, shard

    def update(self, stage: str, done: int, total: int) -> None:
        if stage == "evaluations":
            self.counter.report.remote(self.shard.index, done, total)


def _shard(config: RunConfig, counter: Any) -> tuple[list[Record], list[str]]:
    """One worker's share: its records, and what was logged."""
    shard = config.shard or Shard(1, 1)
    sentences: list[str] = []
    with messages_to(sentences.append):
        records = list(local_engine.run(config, Live(), _Reporter(counter, shard)))
    return records, sentences
