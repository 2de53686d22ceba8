"""Runs subjects through tasks and keeps a record of each; what exists is read, what fails does not stop the rest."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from saebench_lite import registry
from saebench_lite.api.context import EvalContext
from saebench_lite.api.task import Task
from saebench_lite.data.types import Data
from saebench_lite.errors import SaebenchError
from saebench_lite.files import cache_root, digest
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.names import WORLD
from saebench_lite.runs import profiles
from saebench_lite.runs.evaluate import Session
from saebench_lite.runs.job import Job, Tick
from saebench_lite.runs.sharding import Shard
from saebench_lite.runs.subjects import subjects_of
from saebench_lite.saes.protocol import SAE

FIRST_SEED = 42


def seed_list(n: int) -> list[int]:
    """The n seeds of a run, 42 first, as in SAEBench and sae-probes."""
    return list(range(FIRST_SEED, FIRST_SEED + n))


def load_data(specs: Sequence[str], limit: int | None = None) -> Data:
    """Data of one or more `source[:where]` specs, put together."""
    parts = []
    for spec in specs:
        name, _, where = spec.partition(":")
        parts.append(registry.get("sources", name).load(where, limit))
    if len(parts) == 1:
        return parts[0]
    fields = ("datasets", "concepts", "texts", "parents", "notes")
    joined = {f: tuple(item for part in parts for item in getattr(part, f)) for f in fields}
    return Data(name="+".join(p.name for p in parts), **joined)


def data_identity(data: Data) -> dict[str, Any]:
    """Name and digest of everything a task could read, in any order."""
    parts = [sorted(d.fingerprint + d.name for d in kind) for kind in (data.datasets, data.concepts)]
    parts.append(sorted(c.fingerprint for c in data.texts))
    if data.parents:
        parts.append(sorted(p.fingerprint for p in data.parents))
    counts = {"datasets": len(data.datasets), "concepts": len(data.concepts), "corpora": len(data.texts)}
    return {"name": data.name, "digest": digest(parts), **counts}


def make_config(task: Task, settings: Mapping[str, Any]) -> Any:
    """The task's config with some fields changed; SaebenchError for a field it does not have."""
    fields = {f.name for f in dataclasses.fields(task.config)}
    if unknown := sorted(set(settings) - fields):
        raise SaebenchError(
            f"task {task.card.name!r} has no setting {unknown[0]!r}; it has {', '.join(sorted(fields)) or 'none'}"
        )
    return task.config(**settings)


def set_up(
    saes: Mapping[str, SAE] | Sequence[str] = (),
    *,
    model: str | LanguageModel,
    hook: str,
    data: str | Data | Sequence[str],
    tasks: Sequence[str] | None,
    baselines: Sequence[str] | None,
    control_of: Sequence[str] | None,
    seeds: int | Sequence[int],
    out: str | Path | None,
    device: str,
    dtype: str,
    limit: int | None,
    settings: Mapping[str, Mapping[str, Any]] | None,
    profile: str | None,
    cache: Path | None,
    memory: int,
    force: bool,
    shard: Shard | None,
    tick: Tick,
    say: Callable[[str], None],
) -> Job:
    """Loads and checks everything that `run` with the same arguments would use."""
    tasks, settings = profiles.apply(profile, tasks, settings)
    lm = _model(model, device, dtype)
    todo: dict[str, Task] = {name: registry.get("tasks", name) for name in (tasks or _default_tasks(lm))}
    configs = {name: make_config(task, settings.get(name, {})) for name, task in todo.items()}
    if unknown := sorted(set(settings) - set(todo)):
        raise SaebenchError(f"settings are given for {unknown[0]!r}, which is not among the tasks {', '.join(todo)}")
    seeds = seed_list(seeds) if isinstance(seeds, int) else list(seeds)
    if not seeds:
        raise SaebenchError("--seeds must be at least 1")
    loaded = data if isinstance(data, Data) else load_data([data] if isinstance(data, str) else data, limit)
    ctx = EvalContext(lm, hook, loaded, cache=cache_root() if cache is None else cache, memory=memory, tick=tick)
    root = None if out is None else Path(out)
    session = Session(ctx, data_identity(loaded), root, force, say)
    on_trial = subjects_of(saes, baselines, control_of, ctx, say)
    return Job(session, todo, configs, on_trial, seeds, shard)


def _model(model: str | LanguageModel, device: str, dtype: str) -> LanguageModel:
    if isinstance(model, LanguageModel):
        return model
    if model.startswith(WORLD):
        from saebench_lite.worlds.model import WorldModel

        return WorldModel.load(model.removeprefix(WORLD), device=device)
    return LanguageModel.load(model, device=device, dtype=dtype)


def _default_tasks(lm: LanguageModel) -> list[str]:
    cards = {n: registry.get("tasks", n).card for n in registry.names("tasks")}
    return [n for n, card in cards.items() if card.default and (lm.planted or card.site == "any")]
