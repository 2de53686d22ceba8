"""How a pair of subject and task becomes a record: drafted, read from disk, or scored and written."""

from __future__ import annotations

import dataclasses
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, overload

import numpy as np
import torch

from saebench_lite import registry
from saebench_lite.api.card import Card
from saebench_lite.api.context import EvalContext
from saebench_lite.api.recorded_settings import recorded
from saebench_lite.api.subject import BrokenSubject, Subject
from saebench_lite.api.task import Scores, Task
from saebench_lite.errors import NotApplicable, SaebenchError, contained, kind_of, reason
from saebench_lite.progress import logger
from saebench_lite.records.record import Record, stored_path
from saebench_lite.records.summary import metric_score, unit_values
from saebench_lite.records.types import DataInfo, MetricScore, Status, SubjectInfo, TaskInfo, UnitValues
from saebench_lite.runs.provenance import provenance
from saebench_lite.runs.sites import Site, named_elsewhere, other_rule
from saebench_lite.saes.held import HeldSAE
from saebench_lite.saes.protocol import SAE, dense, device_of, encoding, json_types
from saebench_lite.saes.tensor_cores import code_differences

SIGNED = (
    "some of its codes are negative: what reads the largest code of a text (concept_detection, poolings called max)"
    " sees nothing in those; split each latent into its positive and its negative part"
)
"Note on an SAE of signed codes."
LISTED = 4096
"Numbers of a tensor at most that a record holds among its diagnostics."
ENCODED = 1024
"Activations on which an SAE that is not encoded in float32 is compared with itself in float32."


class Config(Protocol):
    """An instance of a task's dataclass of settings."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


class PreparedTask(NamedTuple):
    """A task before any subject."""

    task: Task
    config: Config
    seeds: list[int]
    prepared: Any
    failure: tuple[Status, str] | None = None
    notes: tuple[str, ...] = ()
    "Warnings of its preparation."


@dataclasses.dataclass
class Session:
    """One run's fixed parts, and how a pair of subject and task goes through them."""

    ctx: EvalContext
    data: DataInfo
    root: Path | None
    force: bool
    encoding: dict[str, object] = dataclasses.field(default_factory=dict)
    "Of the SAE in memory: how it is encoded, and what that changes."

    def prepare(self, task: Task, config: Config, seeds: list[int]) -> PreparedTask:
        """What all subjects of a task share, or why there is none."""
        prepared, failure = None, None
        with self.ctx.collecting() as notes:
            try:
                with contained():
                    prepared = task.prepare(self.ctx, config, seeds)
                    self.ctx.register_poolings(task.pooling_requests(self.ctx, config))
            except Exception as error:  # noqa: BLE001  (foreign code and files raise anything)
                failure = self._failure(task.card.name, "prepare", error)
        return PreparedTask(task, config, seeds, prepared, failure, tuple(notes))

    def loaded(self, subject: Subject) -> Subject:
        """The subject with its SAE in memory, its calls held to `HeldSAE`; where that raises, a `BrokenSubject`."""
        try:
            with contained():
                loaded = subject.loaded()
                if loaded.sae is None:
                    return loaded
                sae = encoding(loaded.sae, self.ctx.encode)
                self.encoding = self._encoding(loaded.sae, sae)
                return dataclasses.replace(loaded, sae=HeldSAE(sae, loaded.name))
        except Exception as error:  # noqa: BLE001  (foreign code and files raise anything)
            logger.warning(f"{subject.name}: {reason(error)}")
            return BrokenSubject(
                name=subject.name,
                kind=subject.kind,
                fingerprint=subject.fingerprint,
                meta=subject.meta,
                reason=reason(error),
            )

    def _encoding(self, plain: SAE, sae: SAE) -> dict[str, object]:
        """How an SAE is encoded and what that changes of the codes of some activations; empty with float32."""
        x = None if self.ctx.encode == "float32" or sae is plain else self.ctx.rows(ENCODED)
        if x is None:
            return {}
        with torch.no_grad():
            x = x.to(device_of(sae))
            difference = code_differences(dense(plain.encode(x)), dense(sae.encode(x)))
        return {"encode": {"by": self.ctx.encode, "rows": len(x), **difference}}

    def draft(self, task: Task, config: Config, subject: Subject, seeds: list[int]) -> Record:
        """The record of a pair before it is scored.

        Args:
            task: the task.
            config: its settings, an instance of `task.config`.
            subject: what is scored.
            seeds: of the repetitions; none for a task that draws nothing.
        """
        package, version = registry.owner("tasks", task.card.name)
        card = task.card
        return Record(
            task=TaskInfo(
                name=card.name,
                version=card.version,
                package=package,
                package_version=version,
                headline=list(card.headline),
                beside=card.beside,
                metrics={},
            ),
            subject=SubjectInfo(
                name=subject.name, kind=subject.kind, fingerprint=subject.fingerprint, meta=subject.meta
            ),
            site=self.ctx.site(),
            data=self.data,
            settings=plain(recorded(config)),
            seeds=seeds,
            status="failed",
        )

    def existing(self, draft: Record) -> Record | None:
        """The finished record of a draft, None where there is none or it failed."""
        path = None if self.root is None or self.force else stored_path(draft.key, self.root)
        if path is None:
            return None
        try:
            record = Record.load(path)
        except SaebenchError as error:
            logger.warning(f"{error}; computed again")
            return None
        return None if record.status == "failed" else record

    def evaluate(self, subject: Subject, draft: Record, prepared: PreparedTask) -> Record:
        """The finished record of a pair, on disk too."""
        started = time.perf_counter()
        scores, per_unit, diagnostics = {}, {}, {}
        status: Status = "ok"
        why: str | None = None
        notes: list[str] = []
        if prepared.failure is not None:
            status, why = prepared.failure
        elif isinstance(subject, BrokenSubject):
            status, why = "failed", subject.reason
        else:
            try:
                with self.ctx.collecting() as notes, contained():
                    got = prepared.task.evaluate(subject, self.ctx, prepared.prepared, prepared.config, prepared.seeds)
                if not isinstance(got, Scores):
                    raise SaebenchError(f"evaluate returned {kind_of(got)}; return Scores")
                scores, per_unit = summarise(got, prepared.task.card)
                diagnostics = json_types(listed(got.diagnostics)) | (self.encoding if subject.sae is not None else {})
                if not scores:
                    raise SaebenchError("no metric has a value in any unit; are codes or reconstructions degenerate?")
            except Exception as error:  # noqa: BLE001  (foreign code and files raise anything)
                status, why = self._failure(prepared.task.card.name, subject.name, error)
        rule = other_rule(subject.meta, self.ctx.lm.positions(self.ctx.hook))
        site = named_elsewhere(subject.meta, Site(self.ctx.lm.name, self.ctx.hook)) if subject.kind == "sae" else None
        signed = SIGNED if isinstance(subject.sae, HeldSAE) and subject.sae.signed and subject.kind == "sae" else None
        warnings = list(dict.fromkeys([*self.ctx.notes, *prepared.notes, *notes, *filter(None, [site, rule, signed])]))
        record = dataclasses.replace(
            draft,
            task=dataclasses.replace(draft.task, metrics={m: prepared.task.card.metric(m) for m in scores}),
            status=status,
            reason=why,
            scores=scores,
            per_unit=per_unit,
            diagnostics=diagnostics,
            provenance=provenance(device=self.ctx.device, seconds=time.perf_counter() - started, notes=warnings),
        )
        if self.root is not None:
            record.save(self.root)
        return record

    def _failure(self, task: str, where: str, error: Exception) -> tuple[Status, str]:
        if isinstance(error, NotApplicable):
            return "not_applicable", str(error)
        why = reason(error)
        if not isinstance(error, SaebenchError):
            place = traceback.extract_tb(error.__traceback__)[-1]
            why += f" ({Path(place.filename).name} line {place.lineno})"
        logger.warning(f"{task}, {where}: {why}")
        return "failed", why


def summarise(scores: Scores, card: Card) -> tuple[dict[str, MetricScore], dict[str, UnitValues]]:
    """Scores and unit values by metric; SaebenchError for a metric that is not declared or leaves its bounds.

    A metric without a value in any unit is left out.
    """
    summary, per_unit = {}, {}
    for name in scores.metrics:
        try:
            metric = card.metric(name)
        except KeyError:
            raise SaebenchError(f"task {card.name!r} returned {name!r}, which its card does not declare") from None
        units, seeds, values, weights = scores.table(name)
        errors = scores.errors(name)
        score = metric_score(values, weights, metric, errors)
        if score is not None:
            summary[name], per_unit[name] = score, unit_values(units, seeds, values, weights, errors)
    return summary, per_unit


def listed(value: object, where: str = "diagnostics", depth: int = 16) -> object:
    """Diagnostics with tensors and arrays as lists; SaebenchError for one of more than `LISTED` numbers.

    Args:
        value: of the diagnostics, or all of them.
        where: its place in them.
        depth: levels that are looked into, so that a value that holds itself ends.
    """
    if isinstance(value, torch.Tensor | np.ndarray):
        size = int(np.prod(value.shape))
        if size > LISTED:
            raise SaebenchError(
                f"{where} holds a tensor of shape {list(value.shape)}; give a summary, {LISTED:,} numbers at most"
            )
        return value.tolist() if size != 1 else value
    if depth and isinstance(value, Mapping):
        return {k: listed(v, f"{where}.{k}", depth - 1) for k, v in value.items()}
    if depth and isinstance(value, list | tuple):
        return [listed(v, where, depth - 1) for v in value]
    return value


@overload
def plain(value: dict[str, Any]) -> dict[str, object]: ...  # Any: what `dataclasses.asdict` gives
@overload
def plain(value: object) -> object: ...
def plain(value: object) -> object:
    """Tuples to lists, so that a config reads back from JSON as it was written."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, tuple | list) else value
