"""Scores the panel on a world: records on disk, what exists is read, the rest shared out among processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from saebench_lite.audit import panel
from saebench_lite.data.types import Data
from saebench_lite.progress import NoProgress, Progress, logger, messages_to
from saebench_lite.records.record import Record
from saebench_lite.runs import runner, setup
from saebench_lite.runs.sharding import Shard
from saebench_lite.worlds.model import HOOK, WorldModel

BASELINES = ("oracle", "matched_random")
"The oracle, and a random dictionary of the width and L0 of each trained SAE."
SETTINGS = {"sparse_probing": {"ks": (1, 2, 5, 16)}}
"The k of SAEBench's tables (1, 2, 5) and of sae-probes' (16)."
REGIMES = {"probing_regimes": {"sizes": (32,), "shares": (0.1,), "flips": (0.2,), "max_train": 256}}
"One level a regime; with `SPARSE_CONCEPTS` and `REGIME_SEEDS` the regimes cost a few seconds an SAE."
SPARSE_CONCEPTS = 8
"Of this many concepts one is asked under the regimes."
REGIME_SEEDS = 2


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What is scored, on what, and where records go."""

    world: str
    folders: tuple[Path, ...]
    "SAEs of the panel, as `panel.build` gives them."
    out: Path
    seeds: int
    limit: int | None = None
    "Concepts at most, evenly over all kinds."
    device: str = "cpu"
    cache: Path | None = None
    plugins: tuple[str, ...] = ()
    "Modules whose default tasks are scored too."


def evaluate(todo: Evaluation, *, jobs: int = 1, progress: Progress | None = None) -> list[Record]:
    """Records of all SAEs, the oracle and the controls on all tasks; with `jobs` > 1 in that many processes of one
    thread, this one among them.
    """
    progress = NoProgress() if progress is None else progress
    if jobs > 1:
        threads = torch.get_num_threads()
        with ProcessPoolExecutor(jobs - 1, mp_context=get_context("spawn")) as pool:
            others = [pool.submit(_alone, todo, Shard(i, jobs)) for i in range(2, jobs + 1)]
            torch.set_num_threads(1)
            list(_scored(todo, Shard(1, jobs), progress))
            for done, other in enumerate(as_completed(others), 2):
                for sentence in other.result():
                    logger.warning(sentence)
                progress.update("shares of the evaluation", done, jobs)
        torch.set_num_threads(threads)
    return list(_scored(todo, None, progress))


def _alone(todo: Evaluation, shard: Shard) -> list[str]:
    """A share in a process of its own; what it logged."""
    torch.set_num_threads(1)
    sentences: list[str] = []
    with messages_to(sentences.append):
        for _ in _scored(todo, shard, NoProgress()):
            pass
    return sentences


def _scored(todo: Evaluation, shard: Shard | None, progress: Progress) -> Iterator[Record]:
    """Every record of a share, written as it comes."""
    lm = WorldModel.load(todo.world, device=todo.device)
    data = setup.load_data([f"world:{todo.world}"])
    data = thinned(data, len(data.datasets) if todo.limit is None else todo.limit)
    saes = {f.name: panel.load(f) for f in todo.folders}
    trained = [name for name in saes if "@" not in name]
    parts: list[dict[str, Any]] = [
        {"data": data, "seeds": todo.seeds, "settings": SETTINGS},
        {
            "data": thinned(data, -(-len(data.datasets) // SPARSE_CONCEPTS)),
            "seeds": REGIME_SEEDS,
            "settings": REGIMES,
            "tasks": list(REGIMES),
        },
    ]
    for part in parts:
        yield from runner.run(
            saes,
            model=lm,
            hook=HOOK,
            baselines=BASELINES,
            control_of=trained,
            out=todo.out,
            cache=todo.cache,
            shard=shard,
            plugins=todo.plugins,
            progress=progress,
            **part,
        )


def thinned(data: Data, most: int) -> Data:
    """The same texts with at most so many concepts, evenly spaced so that all kinds of concept remain."""
    places = np.linspace(0, len(data.datasets) - 1, min(most, len(data.datasets))).round().astype(int)
    chosen = tuple(data.datasets[i] for i in places)
    return dataclasses.replace(data, datasets=chosen, concepts=chosen)
