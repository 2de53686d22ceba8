"""What is scored: one small class for each kind of subject, which a task tells apart by `form` or by class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any, ClassVar

import torch
from torch import Tensor

from saebench_lite.api.card import Form
from saebench_lite.api.probe_types import (
    Classify,
    ClassifyTokens,
    Direction,
    ModelProbe,
    ProbeFit,
    TextsProbe,
    TrainingSet,
    each,
    fit_sets,
    joined,
    question,
)
from saebench_lite.errors import NotApplicable, SaebenchError
from saebench_lite.records.types import Kind
from saebench_lite.saes.protocol import SAE, decoder_of, is_transcoder


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What all subjects share; a subject is always one of the classes below."""

    form: ClassVar[Form | None] = None
    "What a task has to do with it; None for a subject that could not be loaded."
    name: str
    kind: Kind
    fingerprint: str
    meta: dict[str, Any] = field(default_factory=dict)
    "Facts about the subject for the record (architecture, where it came from), in JSON types; never used in a score."
    sae: SAE | None = field(default=None, init=False, repr=False)
    "The SAE, where there is one in memory."
    probe: ProbeFit | None = field(default=None, init=False, repr=False)
    "How a direction is fitted, where that is what the subject does."

    def loaded(self) -> Subject:
        """The subject with its SAE in memory, if it is an SAE; raises whatever loading raises."""
        return self

    def require_sae(self) -> SAE:
        """The SAE; SaebenchError for a subject that has none in memory."""
        if self.sae is None:
            raise SaebenchError(f"subject {self.name!r} has no codes: it is no SAE, or one that is not loaded")
        return self.sae

    def require_autoencoder(self) -> SAE:
        """The SAE, for tasks that put its output or decoder beside its input; NotApplicable for a transcoder."""
        sae = self.require_sae()
        if is_transcoder(sae):
            raise NotApplicable(f"{self.name!r} is a transcoder: it writes another activation than it reads")
        return sae

    def require_decoder(self) -> Tensor:
        """Decoder rows [d_sae, d_in] of an SAE that writes what it reads; NotApplicable where it shows none."""
        decoder = decoder_of(self.require_autoencoder())
        if decoder is None:
            raise NotApplicable(f"{self.name!r} shows no decoder")
        return decoder


@dataclass(frozen=True, kw_only=True)
class SAESubject(Subject):
    """An SAE in memory."""

    form: ClassVar[Form | None] = "sae"
    sae: SAE = field()


@dataclass(frozen=True, kw_only=True)
class StoredSAESubject(Subject):
    """An SAE that is in memory only while it is scored, so that a run of many takes no more than one of one."""

    form: ClassVar[Form | None] = "sae"
    load: Callable[[], SAE]

    def loaded(self) -> SAESubject:
        """The same subject with its SAE."""
        return SAESubject(name=self.name, kind=self.kind, fingerprint=self.fingerprint, meta=self.meta, sae=self.load())


class FitsOnce:
    """A probe's fits, each made once: a task that asks for what another has asked for gets the same directions."""

    def __init__(self, fit: ProbeFit) -> None:
        self._fit = fit
        self._made: dict[bytes, Direction] = {}

    def __call__(self, x: Tensor, y: Tensor, train_mask: Tensor, /) -> Direction:
        """The directions of `fit`; arguments of the same numbers, types and shapes are the same question."""
        key = _key(x, _digests(x), y, train_mask)
        if key not in self._made:
            self._made[key] = self._fit(x, y, train_mask)
        return self._made[key]

    def fit_sets(self, x: Tensor, sets: Sequence[TrainingSet], /) -> Direction:
        """The directions of `fit` for sets of a table's rows [n, d]; those not asked for before are fitted together."""
        rows = _digests(x)
        keys = [_key(x, *question(rows, s)) for s in sets]
        new = {key: s for key, s in zip(keys, sets, strict=True) if key not in self._made}
        if new:
            self._made.update(zip(new, each(fit_sets(self._fit, x, list(new.values()))), strict=True))
        return joined([self._made[key] for key in keys])


def _digests(x: Tensor) -> Tensor:
    """16 bytes that stand for the numbers of each row of x [n, d]: [n, 16]."""
    rows = x.detach().cpu().contiguous().view(torch.uint8).numpy()
    return torch.tensor([list(blake2b(row, digest_size=16).digest()) for row in rows], dtype=torch.uint8).view(-1, 16)


def _key(x: Tensor, rows: Tensor, *labels: Tensor) -> bytes:
    """Equal where a fit is asked with the same numbers, types and shapes on one device.

    Args:
        x: of the table's type and width, and on its device.
        rows: digests of the rows asked with. [n, 16]
        labels: the other arguments.
    """
    asked = blake2b(f"{x.device} {x.dtype} {x.shape[1:]}".encode(), digest_size=16)
    for part in (rows, *labels):
        asked.update(f"{part.dtype} {tuple(part.shape)}".encode())
        asked.update(part.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return asked.digest()


@dataclass(frozen=True, kw_only=True)
class ProbeSubject(Subject):
    """A direction in the model's activations, fitted by `probe`."""

    form: ClassVar[Form | None] = "probe"
    probe: ProbeFit = field()

    def loaded(self) -> ProbeSubject:
        """The same subject, whose fits are made once for all tasks."""
        return replace(self, probe=FitsOnce(self.probe))


@dataclass(frozen=True, kw_only=True)
class ClassifierSubject(Subject):
    """A yes/no classifier of pooled activations, one row a text."""

    form: ClassVar[Form | None] = "classifier"
    classify: Classify


@dataclass(frozen=True, kw_only=True)
class TokenClassifierSubject(Subject):
    """A yes/no classifier that reads the activations of every token of a text."""

    form: ClassVar[Form | None] = "classifier"
    classify: ClassifyTokens


@dataclass(frozen=True, kw_only=True)
class TextSubject(Subject):
    """A classifier of the raw texts, without any model."""

    form: ClassVar[Form | None] = "texts"
    score: TextsProbe


@dataclass(frozen=True, kw_only=True)
class ModelProbeSubject(Subject):
    """A direction trained by gradients through the model."""

    form: ClassVar[Form | None] = "texts"
    fit: ModelProbe


@dataclass(frozen=True, kw_only=True)
class UntrainedSubject(Subject):
    """An SAE that has to be trained before it can be scored, which a dry run does not do."""

    form: ClassVar[Form | None] = "sae"


@dataclass(frozen=True, kw_only=True)
class BrokenSubject(Subject):
    """One that could not be loaded; every task that takes SAEs records why."""

    reason: str
