"""A world with its oracle and the tasks prepared on it: what edited oracles are measured on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from saebench_lite import registry
from saebench_lite.api.context import EvalContext
from saebench_lite.api.settings import make_config
from saebench_lite.api.subject import SAESubject
from saebench_lite.api.task import Scores, Task
from saebench_lite.audit.dose_edits import DOSES, Dictionary, with_spare
from saebench_lite.audit.dose_truths import Planted, quantities
from saebench_lite.data.types import Data, Labelled
from saebench_lite.errors import NotApplicable
from saebench_lite.files import digest
from saebench_lite.progress import logger
from saebench_lite.records.metric import higher_is_better
from saebench_lite.stats.intervals import collapse, weighted_mean
from saebench_lite.worlds import concepts
from saebench_lite.worlds.model import BLOCK, HOOK, WorldModel
from saebench_lite.worlds.oracle import OracleSAE

TEXTS = 4096
"Texts of the world, a multiple of a block."
SETTINGS: Mapping[str, Mapping[str, object]] = {"sparse_probing": {"ks": (1, 5)}, "absorption": {"max_rows": 1500}}
"What is asked less of than in a run, to save time."
COUNTED = 4096
"Samples that the task `truth` counts at most; the oracle knows no others than those of the texts."
KINDS = {
    name: dataclasses.replace(kind, count=3 * kind.count)
    for name, kind in concepts.KINDS.items()
    if not kind.rare_parts
}
"Concepts made of features that the oracle knows (on others no fault can cost anything), thrice as many as a run has."
CONCEPTS = 40
"Of these, evenly spaced. With 32 of all kinds the interval of average precision straddled the bar of .9."
SEED = 42
"Of the tasks' splits and of the edits."


class EditedOracle(OracleSAE):
    """An oracle with other codes and another decoder, looked up by the activation as the oracle's are."""

    def __init__(self, oracle: OracleSAE, edited: Dictionary, name: str) -> None:
        self.__dict__.update(oracle.__dict__)
        self._codes, self.decoder, self.d_sae = edited.codes, edited.decoder, len(edited.decoder)
        self.meta = {"architecture": "edited oracle", "edit": name}
        self._identity = digest(["edited oracle", 1, oracle.fingerprint(), name, self.d_sae, SEED])


class Prepared(NamedTuple):
    """A task before any dictionary."""

    task: Task
    config: Any  # an instance of the task's own dataclass of settings
    shared: Any  # what the task's `prepare` gives


Values = dict[tuple[str, str], tuple[list[str], np.ndarray, np.ndarray]]
"(task, metric) -> units, values [units] with higher better where there is a direction, weights [units]."


class Measured(NamedTuple):
    """One dictionary."""

    name: str
    "Fault and dose, or `base`."
    quantities: dict[str, float]
    values: Values


@dataclass(frozen=True)
class Bench:
    """A world with its oracle, and the tasks prepared on it."""

    model: WorldModel
    data: Data
    width: int
    "Latents that stand for a feature."
    names: tuple[str, ...]
    "Tasks."

    texts: int
    "Texts of the world, a multiple of a block."

    @cached_property
    def _true(self) -> Tensor:
        """True activations of all samples. [samples, N]"""
        return torch.cat([self.model.features(block) for block in range(self.texts // BLOCK)])

    @cached_property
    def oracle(self) -> OracleSAE:
        """The unedited oracle."""
        return OracleSAE(self.model, self.width, self.texts // BLOCK)

    @cached_property
    def base(self) -> Dictionary:
        """The dictionary that is edited."""
        features = self.oracle.features
        parent = self.model.world.forest.parent
        norms = (self.planted.clean + self.planted.bias).norm(dim=1)
        return with_spare(self._true[:, features], self.oracle.decoder, features, parent, norms, SEED)

    @cached_property
    def planted(self) -> Planted:
        """What dictionaries are compared with."""
        world = self.model.world
        fires = self._true[:, self.oracle.features] > 0
        directions = world.directions[self.oracle.features]
        return Planted(fires, self._true @ world.directions, directions, world.bias, self.model.to_logits)

    @cached_property
    def context(self) -> EvalContext:
        """The site."""
        return EvalContext(self.model, HOOK, self.data)

    @cached_property
    def tasks(self) -> list[Prepared]:
        """The tasks that the world can serve, prepared."""
        ready = []
        for name in self.names:
            task = registry.get("tasks", name)
            counted = {"samples": min(COUNTED, len(self._true))} if name == "truth" else {}
            config = make_config(task, SETTINGS.get(name, counted))
            try:
                ready.append(Prepared(task, config, task.prepare(self.context, config, [SEED])))
            except NotApplicable as why:
                logger.warning("%s is left out: %s", name, why)
                continue
            self.context.register_poolings(task.pooling_requests(self.context, config))
        return ready

    def measure(self, fault: str, dose: float) -> Measured:
        """A dictionary with a dose of a fault under all tasks; the base for dose 0."""
        edited = DOSES[fault](self.base, dose, SEED) if dose else self.base
        name = f"{fault} {dose:g}" if dose else "base"
        sae = EditedOracle(self.oracle, edited, name)
        subject = SAESubject(name=name, kind="oracle", fingerprint=sae.fingerprint(), meta=sae.meta, sae=sae)
        values: Values = {}
        for ready in self.tasks:
            seeds = [SEED] if ready.task.card.seeded else []
            try:
                scores = ready.task.evaluate(subject, self.context, ready.shared, ready.config, seeds)
            except NotApplicable:
                continue
            values |= _oriented(scores, ready.task)
        self.context.release()
        return Measured(name, quantities(edited, self.planted), values)


def _oriented(scores: Scores, task: Task) -> Values:
    """What a task gave, one value a unit, turned so that higher is better."""
    out: Values = {}
    for metric in scores.metrics:
        units, _, x, w = scores.table(metric)
        turned = higher_is_better(x, task.card.metric(metric).better, weighted_mean(x, w))
        out[task.card.name, metric] = (units, *collapse(x if turned is None else turned, w))
    return out


def bench_of(
    world: str | WorldModel,
    *,
    texts: int = TEXTS,
    limit: int = CONCEPTS,
    tasks: Sequence[str] | None = None,
    width: int | None = None,
) -> Bench:
    """The bench of a world.

    Args:
        world: its name, or the world as a model.
        texts: how many of its texts are read, a multiple of a block.
        limit: concepts in reach at most.
        tasks: names; by default all that a run includes unasked.
        width: latents that stand for a feature; by default a quarter of the features, as the oracle of a run has.
    """
    model = WorldModel.load(world) if isinstance(world, str) else world
    data = evenly(concepts.build(model, texts, KINDS), limit)
    default = [n for n, t in registry.get_all("tasks").items() if t.card.default and "sae" in t.card.accepts]
    return Bench(
        model, data, width or model.world.spec.features // 4, tuple(default if tasks is None else tasks), texts
    )


def evenly(data: Data, limit: int) -> Data:
    """The data with `limit` datasets and concepts at most, evenly spaced among its own."""

    def some(items: tuple[Labelled, ...]) -> tuple[Labelled, ...]:
        places = np.unique(np.linspace(0, len(items) - 1, min(limit, len(items))).round().astype(int))
        return tuple(items[i] for i in places)

    return dataclasses.replace(data, datasets=some(data.datasets), concepts=some(data.concepts))
