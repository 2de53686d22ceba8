"""Runs subjects through tasks and keeps a record of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from saebench_lite.data.types import Data
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.records.record import Record
from saebench_lite.runs.job import Tick
from saebench_lite.runs.setup import set_up
from saebench_lite.runs.sharding import Shard
from saebench_lite.saes.protocol import SAE


def run(
    saes: Mapping[str, SAE] | Sequence[str] = (),
    *,
    model: str | LanguageModel,
    hook: str,
    data: str | Data | Sequence[str] = "bundled",
    tasks: Sequence[str] | None = None,
    baselines: Sequence[str] | None = None,
    control_of: Sequence[str] | None = None,
    seeds: int | Sequence[int] = 3,
    out: str | Path | None = None,
    device: str = "cpu",
    dtype: str = "float32",
    limit: int | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    profile: str | None = None,
    cache: Path | None = None,
    memory: int = 1 << 30,
    force: bool = False,
    shard: Shard | None = None,
    tick: Tick = lambda what, done, total: None,
    say: Callable[[str], None] = lambda sentence: None,
) -> list[Record]:
    """Scores SAEs, baselines and controls of one site on tasks; returns one record for each pair that applies.

    `saes`: name -> live object, or specs (`name=loader:where`). `tasks` and `baselines`: names; by default all that the
    site allows and that train nothing. `control_of`: SAEs from which derived controls are made ("all": from each;
    default: the one with the median L0).
    `settings`: {task: {field: value}}; `profile`: another benchmark's settings and tasks (see profiles), under these.
    `out`: a results folder; records found there are not computed again (failed ones are, `force` repeats all).
    `shard`: only its share of the pairs. `tick(what, done, total)` and `say(sentence)` report progress.
    SaebenchError for input that makes the whole run impossible; a failing subject only yields failed records.
    """
    job = set_up(**locals())
    records: list[Record] = []
    total = sum(len(units) for _, units in job.units())
    for record in job.scored():
        records.append(record)
        tick("evaluations", len(records), total)
    return records
