"""What is on trial, and the baselines that stand beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from saebench_lite.api.card import Form, Site
from saebench_lite.errors import NotApplicable, SaebenchError
from saebench_lite.records.types import Kind
from saebench_lite.saes.protocol import SAE, is_transcoder

if TYPE_CHECKING:
    from saebench_lite.api.context import EvalContext
from saebench_lite.api.probe_types import Classify, ClassifyTokens, ModelProbe, ProbeFit, TextsProbe

WAYS = ("probe", "classify", "classify_tokens", "texts_probe", "model_probe")
"How a baseline that is no SAE can learn."


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What stands in the table next to SAEs. Exactly one of the seven ways below is given.

    `probe`, `classify` and `classify_tokens` learn from the model's own activations, `texts_probe` from the texts
    without any model, `model_probe` by gradients through the model; `make(ctx, seed)` builds a dictionary baseline for
    a site; `derive(sae, ctx, seed)` makes a control out of an SAE on trial.
    """

    name: str
    description: str
    "One line: what doing as well as this baseline means."
    kind: Kind
    version: int = 1
    probe: ProbeFit | None = None
    classify: Classify | None = None
    classify_tokens: ClassifyTokens | None = None
    texts_probe: TextsProbe | None = None
    model_probe: ModelProbe | None = None
    make: Callable[[EvalContext, int], SAE] | None = None
    derive: Callable[[SAE, EvalContext, int], SAE] | None = None
    default: bool = True
    "Whether a run includes it unasked (False for those that take long to train)."
    site: Site = "any"

    def __post_init__(self) -> None:
        ways = (*WAYS, "make", "derive")
        if sum(getattr(self, way) is not None for way in ways) != 1:
            raise ValueError(f"baseline {self.name!r} must give exactly one of {', '.join(ways)}")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is on trial: an SAE, or a baseline or control in its place.

    Exactly one of `sae`, `bring` and the fields named in `WAYS` is set; none for an SAE that could not be loaded.
    """

    name: str
    kind: Kind
    fingerprint: str
    sae: SAE | None = None
    bring: Callable[[], SAE] | None = None
    "Brings an SAE that is in memory only while it is scored, so that a run of many takes no more than one of one."
    probe: ProbeFit | None = None
    classify: Classify | None = None
    classify_tokens: ClassifyTokens | None = None
    texts_probe: TextsProbe | None = None
    model_probe: ModelProbe | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    "Facts about the subject for the record (architecture, where it came from); never used in a score."

    @property
    def form(self) -> Form | None:
        """What a task has to do with it; None for a subject that could not be loaded."""
        if self.sae is not None or self.bring is not None:
            return "sae"
        if self.probe is not None:
            return "probe"
        if self.texts_probe is not None or self.model_probe is not None:
            return "texts"
        return None if self.classify is None and self.classify_tokens is None else "classifier"

    def opened(self) -> Subject:
        """The subject with its SAE in memory; SaebenchError if that can no longer be brought."""
        return self if self.bring is None else replace(self, sae=self.bring(), bring=None)

    def require_sae(self) -> SAE:
        """The SAE; an error for a subject that has none."""
        if self.sae is None:
            raise SaebenchError(f"subject {self.name!r} is a probe and has no codes")
        return self.sae

    def require_autoencoder(self) -> SAE:
        """The SAE, for tasks that put its output or decoder beside its input; NotApplicable for a transcoder."""
        sae = self.require_sae()
        if is_transcoder(sae):
            raise NotApplicable(f"{self.name!r} is a transcoder: it writes another activation than it reads")
        return sae
