"""Runs subjects through tasks and keeps a record of each; what exists is read, what fails does not stop the rest."""

from __future__ import annotations

import dataclasses
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from saebench_lite import profiles, provenance, registry, stats
from saebench_lite.bench import Bench
from saebench_lite.cachedir import cache_root
from saebench_lite.card import Card
from saebench_lite.data import Data
from saebench_lite.errors import NotApplicable, SaebenchError
from saebench_lite.model import LanguageModel
from saebench_lite.record import Record, Status, digest, rounded
from saebench_lite.sae import SAE
from saebench_lite.shard import Shard
from saebench_lite.subjects import subjects_of
from saebench_lite.task import Scores, Subject, Task

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

    session: _Session
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
        work = [(s, [(d, self.session.existing(d)) for d in drafts]) for s, drafts in self.units()]
        todo = {d.task["name"] for _, pairs in work for d, found in pairs if found is None}
        ready = {
            n: self.session.prepare(t, self.configs[n], self.task_seeds(n)) for n, t in self.tasks.items() if n in todo
        }
        for subject, pairs in work:
            on_trial = self.session.opened(subject) if any(found is None for _, found in pairs) else subject
            for draft, found in pairs:
                yield found or self.session.evaluate(on_trial, draft, ready[draft.task["name"]])


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
    session = _Session(bench, data_identity(loaded), root, force, say)
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


class Ready(NamedTuple):
    """A task before any subject."""

    task: Task
    config: Any
    seeds: list[int]
    prepared: Any
    failure: tuple[Status, str] | None = None


@dataclasses.dataclass
class _Session:
    """One run's fixed parts, and how a pair of subject and task goes through them."""

    bench: Bench
    data: dict[str, Any]
    root: Path | None
    force: bool
    say: Callable[[str], None]

    def prepare(self, task: Task, config: Any, seeds: list[int]) -> Ready:
        """What all subjects of a task share, or why there is none."""
        try:
            return Ready(task, config, seeds, task.prepare(self.bench, config, seeds))
        except Exception as error:
            return Ready(task, config, seeds, None, self._failure(task.card.name, "prepare", error))

    def opened(self, subject: Subject) -> Subject:
        """The subject with its SAE in memory; without any form where it cannot be brought again."""
        try:
            return subject.opened()
        except SaebenchError as error:
            return dataclasses.replace(subject, bring=None, meta=subject.meta | {"error": str(error)})

    def draft(self, task: Task, config: Any, subject: Subject, seeds: list[int]) -> Record:
        """The record of a pair before it is scored."""
        package, version = registry.owner("tasks", task.card.name)
        card = task.card
        return Record(
            task={
                "name": card.name,
                "version": card.version,
                "package": package,
                "package_version": version,
                "headline": list(card.headline),
                "metrics": {m.name: dataclasses.asdict(m) for m in card.metrics},
            },
            subject={
                "name": subject.name,
                "kind": subject.kind,
                "fingerprint": subject.fingerprint,
                "meta": subject.meta,
            },
            site=self.bench.site(),
            data=self.data,
            settings=_plain(dataclasses.asdict(config)),
            seeds=seeds,
            status="failed",
        )

    def existing(self, draft: Record) -> Record | None:
        """The finished record of a draft, None where there is none or it failed."""
        if self.root is None or self.force or not draft.path(self.root).exists():
            return None
        try:
            record = Record.load(draft.path(self.root))
        except SaebenchError as error:
            self.say(f"{error}; computed again")
            return None
        return None if record.status == "failed" else record

    def evaluate(self, subject: Subject, draft: Record, ready: Ready) -> Record:
        """The finished record of a pair, on disk too."""
        started = time.perf_counter()
        scores, details, facts = {}, {}, {}
        status: Status = "ok"
        reason: str | None = None
        if ready.failure is not None:
            status, reason = ready.failure
        elif subject.form is None:
            status, reason = "failed", subject.meta["error"]
        else:
            try:
                got = ready.task.evaluate(subject, self.bench, ready.prepared, ready.config, ready.seeds)
                scores, details = summarise(got, ready.task.card)
                facts = got.facts
            except Exception as error:
                status, reason = self._failure(ready.task.card.name, subject.name, error)
        made = provenance.made(
            device=self.bench.device, seconds=time.perf_counter() - started, notes=list(self.bench.notes)
        )
        record = dataclasses.replace(
            draft, status=status, reason=reason, scores=scores, details=details, facts=facts, made=made
        )
        if self.root is not None:
            record.save(self.root)
        return record

    def _failure(self, task: str, where: str, error: Exception) -> tuple[Status, str]:
        if isinstance(error, NotApplicable):
            return "not_applicable", str(error)
        reason = str(error) if isinstance(error, SaebenchError) else f"{type(error).__name__}: {error}"
        if not isinstance(error, SaebenchError):
            place = traceback.extract_tb(error.__traceback__)[-1]
            reason += f" ({Path(place.filename).name} line {place.lineno})"
        self.say(f"{task}, {where}: {reason}")
        return "failed", reason


def summarise(scores: Scores, card: Card) -> tuple[dict[str, Any], dict[str, Any]]:
    """Record fields `scores` and `details`; SaebenchError for a metric that is not declared or leaves its range."""
    summary, details = {}, {}
    for name in scores.metrics:
        try:
            metric = card.metric(name)
        except KeyError:
            raise SaebenchError(f"task {card.name!r} returned {name!r}, which its card does not declare") from None
        units, seeds, values, weights = scores.table(name)
        estimate = stats.estimate(values, weights)
        if estimate.value != estimate.value:
            continue  # no unit could say: shown as missing
        low, high = metric.lo, metric.hi
        if (low is not None and estimate.value < low - 1e-6) or (high is not None and estimate.value > high + 1e-6):
            raise SaebenchError(f"metric {name!r} came out as {estimate.value}, outside [{low}, {high}]")
        ends = (None if e is None else rounded(_within(e, low, high)) for e in (estimate.low, estimate.high))
        summary[name] = {
            "value": rounded(estimate.value),
            **dict(zip(("low", "high"), ends, strict=True)),
            "n": estimate.n,
            "per_seed": [rounded(v) for v in estimate.per_seed],
        }
        details[name] = {
            "units": units,
            "seeds": seeds,
            "values": [[rounded(v) for v in row] for row in values.tolist()],
        }
        if not (weights == 1).all():
            details[name]["weights"] = [[rounded(w) for w in row] for row in weights.tolist()]
    return summary, details


def _within(value: float, low: float | None, high: float | None) -> float:
    """The end of an interval, kept inside the metric's range."""
    value = value if low is None else max(low, value)
    return value if high is None else min(high, value)


def _plain(value: Any) -> Any:
    """Tuples to lists, so that a config reads back from JSON as it was written."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value
