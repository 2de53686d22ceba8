"""A run spread over the devices of this machine: one process a device, each with its share of the subjects.

A process loads model and data once and keeps an SAE in memory while all tasks of it run, as a run in one process does;
records are the same. What one process of a run has written, another run finds, so nothing finished is lost.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import get_context
from queue import Empty
from typing import Any

import torch

from saebench_lite.errors import SaebenchError
from saebench_lite.progress import Progress, logger, messages_to
from saebench_lite.records.record import Record
from saebench_lite.runs import local_engine
from saebench_lite.runs.config import RunConfig
from saebench_lite.runs.live import Live
from saebench_lite.runs.sharding import Shard

_queue: Any = None
"Of a worker process: takes (share, done, total, record)."


def run(config: RunConfig, live: Live, progress: Progress) -> Iterator[Record]:
    """Records of a run on `config.devices`, each as soon as its process has it.

    SaebenchError for live objects, which each process would have to load itself, and if a process dies.
    """
    if live.names:
        raise SaebenchError(
            f"devices {', '.join(config.devices)} are processes that cannot be handed live objects"
            f" ({', '.join(live.names)}); give specs and names"
        )
    context, of = get_context("spawn"), len(config.devices)
    queue: Any = context.Queue()
    threads = max(1, (os.cpu_count() or 1) // of)
    shares = [
        dataclasses.replace(config, device=device, devices=(), shard=Shard(i, of))
        for i, device in enumerate(config.devices, 1)
    ]
    with ProcessPoolExecutor(of, context, _begin, (queue, threads)) as pool:
        waiting = [pool.submit(_share, share) for share in shares]
        counts: dict[int, tuple[int, int]] = {}
        while waiting or not queue.empty():
            with suppress(Empty):
                share, done, total, record = queue.get(timeout=0.2)
                counts[share] = (done, total)
                progress.update("evaluations", *(sum(c) for c in zip(*counts.values(), strict=True)))
                yield record
            for ended in [f for f in waiting if f.done()]:
                waiting.remove(ended)
                for sentence in _result(ended, config):
                    logger.warning(sentence)


def _result(ended: Future[list[str]], config: RunConfig) -> list[str]:
    try:
        return ended.result()
    except BrokenProcessPool as error:
        rest = "run again to do the rest" if config.out else "give --out to keep what is finished"
        raise SaebenchError(f"a process of devices {', '.join(config.devices)} died; {rest}") from error


def _begin(queue: Any, threads: int) -> None:
    global _queue  # noqa: PLW0603  (what a worker process is given when it starts)
    _queue = queue
    torch.set_num_threads(threads)


def _share(config: RunConfig) -> list[str]:
    """One process's share, its records sent as they come; what was logged."""
    assert config.shard is not None
    sentences: list[str] = []
    seen: list[tuple[int, int]] = [(0, 1)]

    class Counter:
        def update(self, stage: str, done: int, total: int) -> None:
            if stage == "evaluations":
                seen.append((done, total))

    with messages_to(sentences.append):
        for record in local_engine.run(config, Live(), Counter()):
            _queue.put((config.shard.index, *seen[-1], record))
    return sentences
