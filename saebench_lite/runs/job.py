"""All that one site of a run needs, before any of it is scored."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from saebench_lite.api.card import Card
from saebench_lite.api.subject import Subject
from saebench_lite.api.task import Task
from saebench_lite.records.record import Record
from saebench_lite.runs import forks
from saebench_lite.runs.evaluate import Config, PreparedTask, Session
from saebench_lite.runs.sharding import Shard

Pairs = list[tuple[Record, Record | None]]
"Drafts of a subject's records, each with the record that exists."


@dataclasses.dataclass
class Job:
    """Tasks and subjects of one site."""

    session: Session
    tasks: dict[str, Task]
    configs: dict[str, Config]
    subjects: list[Subject]
    seeds: list[int]
    shard: Shard | None = None
    processes: int = 1
    "At most, in which subjects are scored; two subjects each at least."

    def task_seeds(self, name: str) -> list[int]:
        """The seeds of a task; none for one that draws nothing."""
        return self.seeds if self.tasks[name].card.seeded else []

    def units(self) -> list[tuple[Subject, list[Record]]]:
        """(subject, draft records of its tasks) pairs of this shard."""
        units = []
        places = {name: i for i, name in enumerate(sorted(s.name for s in self.subjects))}
        for subject in self.subjects:
            if self.shard is not None and not self.shard.owns(places[subject.name]):
                continue
            fitting = [n for n, task in self.tasks.items() if _fits(subject, task.card)]
            drafts = [self.session.draft(self.tasks[n], self.configs[n], subject, self.task_seeds(n)) for n in fitting]
            units += [(subject, drafts)] if drafts else []
        return units

    def scored(self) -> Iterator[Record]:
        """Records, subject by subject: read from disk, or computed and written at once.

        What tasks share is prepared before the first subject; an SAE is in memory while its tasks run. With several
        processes the subjects come in the order in which they are done.
        """
        session = self.session
        work: list[tuple[Subject, Pairs]] = [
            (s, [(d, session.existing(d)) for d in drafts]) for s, drafts in self.units()
        ]
        todo = [n for n in self.tasks if any(r is None for _, pairs in work for d, r in pairs if d.task.name == n)]
        processes = min(self.processes, sum(any(r is None for _, r in pairs) for _, pairs in work) // 2)
        prepared = self._prepared(todo)
        if processes < 2:
            for subject, pairs in work:
                yield from self._of(subject, pairs, prepared)
            return
        calls = [partial(self._records, *item, prepared, processes) for item in _early_first(work)]
        session.ctx.doing(f"{processes} subjects at a time")
        for records in forks.results(calls, processes):
            yield from records

    def _prepared(self, tasks: Sequence[str]) -> dict[str, PreparedTask]:
        out = {}
        for name in tasks:
            self.session.ctx.doing(f"what all subjects of {name} share")
            out[name] = self.session.prepare(self.tasks[name], self.configs[name], self.task_seeds(name))
        return out

    def _of(self, subject: Subject, pairs: Pairs, prepared: Mapping[str, PreparedTask]) -> Iterator[Record]:
        """Records of one subject.

        Args:
            subject: what is scored.
            pairs: drafts of its records, and those that exist.
            prepared: the tasks.
        """
        session = self.session
        loaded = session.loaded(subject) if any(record is None for _, record in pairs) else subject
        for draft, record in pairs:
            session.ctx.doing(f"{subject.name}: {draft.task.name}")
            yield record or session.evaluate(loaded, draft, prepared[draft.task.name])
        session.ctx.release()
        del loaded  # before the next one is loaded

    def _records(
        self, subject: Subject, pairs: Pairs, prepared: Mapping[str, PreparedTask], processes: int
    ) -> list[Record]:
        """`_of` as one of so many processes."""
        with self.session.ctx.shared(processes):
            return list(self._of(subject, pairs, prepared))


LATER = {"control": 1, "sae": 2}
"Kinds of subjects that wait for others, where the order is free."


def _early_first(work: Sequence[tuple[Subject, Pairs]]) -> list[tuple[Subject, Pairs]]:
    """The first SAE, baselines, controls, the other SAEs: a table stands early, and a long baseline is not the last."""
    first = next((i for i, (subject, _) in enumerate(work) if subject.kind == "sae"), 0)
    rest = [item for i, item in enumerate(work) if i != first]
    return [work[first], *sorted(rest, key=lambda item: LATER.get(item[0].kind, 0))]


def _fits(subject: Subject, card: Card) -> bool:
    return (subject.form or "sae") in card.accepts
