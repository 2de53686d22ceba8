"""Every metric of a default run on an oracle with planted faults: measured, judged, written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from saebench_lite import registry
from saebench_lite.api.context import EvalContext
from saebench_lite.api.settings import make_config
from saebench_lite.api.subject import SAESubject
from saebench_lite.api.task import Task
from saebench_lite.audit import dose_page
from saebench_lite.audit.constructs import Row, UnitTable, judge
from saebench_lite.audit.dose_edits import DOSES, GRID, Dictionary, with_spare
from saebench_lite.audit.dose_truths import QUANTITIES, Planted, quantities
from saebench_lite.data.types import Data
from saebench_lite.errors import NotApplicable
from saebench_lite.files import digest, write_text
from saebench_lite.progress import NoProgress, Progress, logger
from saebench_lite.records.metric import Metric, higher_is_better
from saebench_lite.stats.intervals import collapse, weighted_mean
from saebench_lite.worlds import concepts
from saebench_lite.worlds.model import BLOCK, HOOK, WorldModel
from saebench_lite.worlds.oracle import OracleSAE

TEXTS = 4096
"Texts of the world, a multiple of a block."
SETTINGS: Mapping[str, Mapping[str, object]] = {"sparse_probing": {"ks": (1, 5)}, "truth": {"samples": 8192}}
"What is asked less of than in a run, to save time."
CONCEPTS = 48
"Of all that the world has, evenly spaced."
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

    @cached_property
    def _true(self) -> Tensor:
        """True activations of all samples. [samples, N]"""
        blocks = max(len(d.corpus.texts) for d in self.data.datasets) // BLOCK
        return torch.cat([self.model.features(block) for block in range(blocks)])

    @cached_property
    def oracle(self) -> OracleSAE:
        """The unedited oracle."""
        return OracleSAE(self.model, self.width, max(len(d.corpus.texts) for d in self.data.datasets) // BLOCK)

    @cached_property
    def base(self) -> Dictionary:
        """The dictionary that is edited."""
        features = self.oracle.features
        parent = self.model.world.forest.parent
        return with_spare(self._true[:, features], self.oracle.decoder, features, parent, SEED)

    @cached_property
    def planted(self) -> Planted:
        """What dictionaries are compared with."""
        directions = self.model.world.directions
        fires = self._true[:, self.oracle.features] > 0
        return Planted(fires, self._true @ directions, directions[self.oracle.features])

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
            config = make_config(task, SETTINGS.get(name, {}))
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
        for task, config, shared in self.tasks:
            seeds = [SEED] if task.card.seeded else []
            scores = task.evaluate(subject, self.context, shared, config, seeds)
            for metric in scores.metrics:
                units, _, x, w = scores.table(metric)
                turned = higher_is_better(x, task.card.metric(metric).better, weighted_mean(x, w))
                values[task.card.name, metric] = (units, *collapse(x if turned is None else turned, w))
        self.context.release()
        return Measured(name, quantities(edited, self.planted), values)


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
        limit: concepts at most.
        tasks: names; by default all that a run includes unasked.
        width: latents that stand for a feature; by default a quarter of the features, as the oracle of a run has.
    """
    model = WorldModel.load(world) if isinstance(world, str) else world
    data = concepts.build(model, texts)
    places = np.unique(np.linspace(0, len(data.datasets) - 1, limit).round().astype(int))
    some = tuple(data.datasets[i] for i in places)
    data = Data(data.name, datasets=some, concepts=some, texts=data.texts, parents=data.parents)
    default = [n for n, t in registry.every("tasks").items() if t.card.default and "sae" in t.card.accepts]
    return Bench(model, data, width or model.world.spec.features // 4, tuple(default if tasks is None else tasks))


def plan(faults: Sequence[str] = tuple(DOSES), grid: Sequence[float] = GRID) -> list[tuple[str, float]]:
    """(fault, dose) of every dictionary: the base once, then each fault at each dose above 0."""
    return [(faults[0], 0.0), *((fault, dose) for fault in faults for dose in grid if dose)]


def series(todo: Sequence[tuple[str, float]]) -> dict[str, list[int]]:
    """Places in a plan along each fault, the base first."""
    return {f: [0, *(i for i, (of, dose) in enumerate(todo) if dose and of == f)] for f in dict(todo)}


def metrics_of(names: Sequence[str]) -> Iterator[tuple[str, Metric, bool]]:
    """(task, metric, whether it is a headline) of all tasks; headlines first within a task."""
    for name in names:
        card = registry.get("tasks", name).card
        for metric in sorted(card.metrics, key=lambda m: m.name not in card.headline):
            yield name, metric, metric.name in card.headline


def judged(measured: Sequence[Measured], todo: Sequence[tuple[str, float]], names: Sequence[str]) -> list[Row]:
    """A row for every metric that declares a construct whose quantity is known.

    Args:
        measured: dictionaries in the order of the plan.
        todo: the plan.
        names: tasks.
    """
    rows = []
    for task, metric, headline in metrics_of(names):
        truths = {
            q: about.better * np.array([m.quantities[q] for m in measured])
            for q, about in QUANTITIES.items()
            if about.construct == metric.construct
        }
        if not truths or not any((task, metric.name) in m.values for m in measured):
            continue
        table = _table(measured, (task, metric.name))
        with np.errstate(invalid="ignore"):
            figure = (table.values * table.weights).sum(1) / table.weights.sum(1)
        rows.append(
            Row(
                task=task,
                metric=metric.name,
                construct=str(metric.construct),
                headline=headline,
                figures=figure.tolist(),
                judgement=judge(table, metric.better, series(todo), truths),
            )
        )
    return rows


def _table(measured: Sequence[Measured], key: tuple[str, str]) -> UnitTable:
    """A metric's units over all dictionaries, those that each has; NaN in a dictionary without the metric."""
    have = [
        dict(zip(m.values[key][0], np.stack(m.values[key][1:], 1), strict=True)) for m in measured if key in m.values
    ]
    known = [{u for u, (x, _) in of.items() if np.isfinite(x)} for of in have]
    units = [u for u in have[0] if all(u in k for k in known)]
    missing = np.full((len(units), 2), [np.nan, 0.0])
    cells = iter(have)
    stacked = []
    for m in measured:
        of = next(cells) if key in m.values else None
        stacked.append(missing if of is None else np.array([of[u] for u in units]).reshape(-1, 2))
    both = np.stack(stacked)
    return UnitTable(both[:, :, 0], both[:, :, 1])


def run(
    world: str,
    out: Path,
    *,
    texts: int = TEXTS,
    limit: int = CONCEPTS,
    jobs: int = 1,
    plugins: Sequence[str] = (),
    progress: Progress | None = None,
) -> list[Row]:
    """Rows of all metrics on a world; writes doses.json and doses.md.

    Args:
        world: its name.
        out: folder of the audit.
        texts: of the world that are read.
        limit: concepts at most.
        jobs: processes, one thread each.
        plugins: importable modules whose default tasks are judged too.
        progress: receives how many dictionaries are scored.
    """
    progress = NoProgress() if progress is None else progress
    todo = plan()
    shares = [todo[i::jobs] for i in range(jobs)]
    work = [(world, texts, limit, tuple(plugins), share) for share in shares]
    if jobs > 1:
        with ProcessPoolExecutor(jobs - 1, mp_context=get_context("spawn")) as pool:
            others = [pool.submit(_measure_all, w) for w in work[1:]]
            parts = [_measure_all(work[0], progress), *(o.result() for o in others)]
    else:
        parts = [_measure_all(work[0], progress)]
    measured = [parts[i % jobs][i // jobs] for i in range(len(todo))]
    names = [n for n, t in registry.every("tasks").items() if t.card.default]
    rows = judged(measured, todo, names)
    truths = {q: np.array([m.quantities[q] for m in measured]) for q in QUANTITIES}
    command = f"saebench-lite audit --doses --world {world}"
    content = {
        "command": command,
        "dictionaries": [m.name for m in measured],
        "quantities": {q: [_number(v) for v in of] for q, of in truths.items()},
        "metrics": [_plain(asdict(row)) for row in rows],
    }
    write_text(out / "doses.json", json.dumps(content, indent=1, allow_nan=False) + "\n")
    write_text(out / "doses.md", dose_page.markdown(command, rows, truths, series(todo)))
    return rows


def _number(value: float) -> float | None:
    """Six significant digits; None for NaN."""
    return None if value != value else float(f"{value:.6g}")


def _plain(value: object) -> object:
    """A value in JSON types, its floats as `_number` gives them."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return _number(value) if isinstance(value, float) else value


def _measure_all(
    work: tuple[str, int, int, tuple[str, ...], list[tuple[str, float]]], progress: Progress | None = None
) -> list[Measured]:
    """A share of the plan, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    world, texts, limit, plugins, share = work
    for module in plugins:
        registry.add_plugin(module)
    bench, measured = bench_of(world, texts=texts, limit=limit), []
    for fault, dose in share:
        measured.append(bench.measure(fault, dose))
        if progress is not None:
            progress.update("dictionaries with planted faults", len(measured), len(share))
    torch.set_num_threads(threads)
    return measured
