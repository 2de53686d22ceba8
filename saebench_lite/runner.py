"""Runs subjects through tasks and keeps a record of each; what exists is read, what fails does not stop the rest."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from saebench_lite import profiles, registry
from saebench_lite.bench import Bench
from saebench_lite.cachedir import cache_root
from saebench_lite.card import Card
from saebench_lite.data import Data
from saebench_lite.errors import SaebenchError
from saebench_lite.model import LanguageModel
from saebench_lite.record import Record, digest
from saebench_lite.sae import SAE
from saebench_lite.session import Session
from saebench_lite.shard import Shard
from saebench_lite.subjects import subjects_of
from saebench_lite.task import Subject, Task

FIRST_SEED = 42
Tick = Callable[[str, int, int], None]


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


@dataclasses.dataclass
class Job:
    """All that a run needs, before any of it is scored."""

    session: Session
    tasks: dict[str, Task]
    configs: dict[str, Any]
    subjects: list[Subject]
    seeds: list[int]
    shard: Shard | None = None

    def task_seeds(self, name: str) -> list[int]:
        """The seeds of a task; none for one that draws nothing."""
        return self.seeds if self.tasks[name].card.seeded else []

    def units(self) -> list[tuple[Subject, list[Record]]]:
        """This share of the work: each subject with a record a task that is still empty."""
        found = []
        for subject in self.subjects:
            fitting = [n for n, task in self.tasks.items() if _fits(subject, task.card)]
            drafts = [self.session.draft(self.tasks[n], self.configs[n], subject, self.task_seeds(n)) for n in fitting]
            mine = [d for d in drafts if self.shard is None or self.shard.owns(d.digest)]
            found += [(subject, mine)] if mine else []
        return found

    def scored(self) -> Iterator[Record]:
        """Records, subject by subject: read from disk, or computed and written at once.

        What tasks share is prepared before the first subject; an SAE is in memory while its tasks run.
        """
        session = self.session
        work = [(s, [(d, session.existing(d)) for d in drafts]) for s, drafts in self.units()]
        todo = [n for n in self.tasks if any(f is None for _, pairs in work for d, f in pairs if d.task["name"] == n)]
        ready = {n: session.prepare(self.tasks[n], self.configs[n], self.task_seeds(n)) for n in todo}
        for subject, pairs in work:
            on_trial = session.opened(subject) if any(found is None for _, found in pairs) else subject
            for draft, found in pairs:
                yield found or session.evaluate(on_trial, draft, ready[draft.task["name"]])
            session.bench.release()
            del on_trial  # before the next one is brought


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
    bench = Bench(lm, hook, loaded, cache=cache_root() if cache is None else cache, memory=memory, tick=tick)
    root = None if out is None else Path(out)
    session = Session(bench, data_identity(loaded), root, force, say)
    on_trial = subjects_of(saes, baselines, control_of, bench, say)
    return Job(session, todo, configs, on_trial, seeds, shard)


def _model(model: str | LanguageModel, device: str, dtype: str) -> LanguageModel:
    if isinstance(model, LanguageModel):
        return model
    if model.startswith("world:"):
        from saebench_lite.worlds.model import WorldModel

        return WorldModel.load(model.removeprefix("world:"), device=device)
    return LanguageModel.load(model, device=device, dtype=dtype)


def _default_tasks(lm: LanguageModel) -> list[str]:
    cards = {n: registry.get("tasks", n).card for n in registry.names("tasks")}
    return [n for n, card in cards.items() if card.default and (lm.planted or card.site == "any")]


def _fits(subject: Subject, card: Card) -> bool:
    return (subject.form or "sae") in card.takes
