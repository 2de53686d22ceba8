"""All that one site of a run needs, before any of it is scored."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from saebench_lite.api.card import Card
from saebench_lite.api.subject import Subject
from saebench_lite.api.task import Task
from saebench_lite.records.record import Record
from saebench_lite.runs.evaluate import Config, Session
from saebench_lite.runs.sharding import Shard


@dataclasses.dataclass
class Job:
    """Tasks and subjects of one site."""

    session: Session
    tasks: dict[str, Task]
    configs: dict[str, Config]
    subjects: list[Subject]
    seeds: list[int]
    shard: Shard | None = None

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

        What tasks share is prepared before the first subject; an SAE is in memory while its tasks run.
        """
        session = self.session
        work = [(s, [(d, session.existing(d)) for d in drafts]) for s, drafts in self.units()]
        todo = [n for n in self.tasks if any(r is None for _, pairs in work for d, r in pairs if d.task.name == n)]
        prepared = {}
        for n in todo:
            session.ctx.doing(f"what all subjects of {n} share")
            prepared[n] = session.prepare(self.tasks[n], self.configs[n], self.task_seeds(n))
        for subject, pairs in work:
            loaded = session.loaded(subject) if any(record is None for _, record in pairs) else subject
            for draft, record in pairs:
                session.ctx.doing(f"{subject.name}: {draft.task.name}")
                yield record or session.evaluate(loaded, draft, prepared[draft.task.name])
            session.ctx.release()
            del loaded  # before the next one is loaded


def _fits(subject: Subject, card: Card) -> bool:
    return (subject.form or "sae") in card.accepts
