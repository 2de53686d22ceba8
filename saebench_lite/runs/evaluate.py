"""How a pair of subject and task becomes a record: drafted, found on disk, or scored and written."""

from __future__ import annotations

import dataclasses
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from saebench_lite import registry
from saebench_lite.api.card import Card
from saebench_lite.api.context import EvalContext
from saebench_lite.api.subject import Subject
from saebench_lite.api.task import Scores, Task
from saebench_lite.errors import NotApplicable, SaebenchError
from saebench_lite.records.record import Record, Status, rounded
from saebench_lite.runs import provenance
from saebench_lite.stats import intervals


class PreparedTask(NamedTuple):
    """A task before any subject."""

    task: Task
    config: Any
    seeds: list[int]
    prepared: Any
    failure: tuple[Status, str] | None = None


@dataclasses.dataclass
class Session:
    """One run's fixed parts, and how a pair of subject and task goes through them."""

    ctx: EvalContext
    data: dict[str, Any]
    root: Path | None
    force: bool
    say: Callable[[str], None]

    def prepare(self, task: Task, config: Any, seeds: list[int]) -> PreparedTask:
        """What all subjects of a task share, or why there is none."""
        try:
            return PreparedTask(task, config, seeds, task.prepare(self.ctx, config, seeds))
        except Exception as error:
            return PreparedTask(task, config, seeds, None, self._failure(task.card.name, "prepare", error))

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
            site=self.ctx.site(),
            data=self.data,
            settings=plain(dataclasses.asdict(config)),
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

    def evaluate(self, subject: Subject, draft: Record, ready: PreparedTask) -> Record:
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
                got = ready.task.evaluate(subject, self.ctx, ready.prepared, ready.config, ready.seeds)
                scores, details = summarise(got, ready.task.card)
                facts = got.facts
            except Exception as error:
                status, reason = self._failure(ready.task.card.name, subject.name, error)
        made = provenance.made(
            device=self.ctx.device, seconds=time.perf_counter() - started, notes=list(self.ctx.notes)
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
        estimate = intervals.estimate(values, weights)
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


def plain(value: Any) -> Any:
    """Tuples to lists, so that a config reads back from JSON as it was written."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, tuple | list) else value
