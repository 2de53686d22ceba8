"""What an author of a baseline or control declares: its name and the one way in which it learns or is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from saebench_lite.api.needs import Need
from saebench_lite.api.probe_types import Classify, ClassifyTokens, ModelProbe, ProbeFit, TextsProbe
from saebench_lite.api.subject import Kind
from saebench_lite.saes.protocol import SAE

if TYPE_CHECKING:
    from saebench_lite.api.context import EvalContext


@dataclass(frozen=True)
class FitsDirection:
    """Learns a direction in the model's own activations."""

    probe: ProbeFit


@dataclass(frozen=True)
class ClassifiesTexts:
    """Learns to classify pooled activations, one row a text."""

    classify: Classify


@dataclass(frozen=True)
class ClassifiesTokens:
    """Learns to classify texts from the activations of all their tokens."""

    classify: ClassifyTokens


@dataclass(frozen=True)
class ReadsTexts:
    """Learns from the raw texts, without any model."""

    score: TextsProbe


@dataclass(frozen=True)
class TrainsThroughModel:
    """Learns a direction by gradients through the model."""

    fit: ModelProbe


@dataclass(frozen=True)
class MakesSAE:
    """Builds an SAE for a site: (ctx, seed) -> SAE."""

    make: Callable[[EvalContext, int], SAE]


@dataclass(frozen=True)
class DerivesSAE:
    """Makes a control out of an SAE that is scored: (sae, ctx, seed) -> SAE."""

    derive: Callable[[SAE, EvalContext, int], SAE]


Method = FitsDirection | ClassifiesTexts | ClassifiesTokens | ReadsTexts | TrainsThroughModel | MakesSAE | DerivesSAE


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What stands in the table next to SAEs. Exactly one of the seven ways from `probe` to `derive` is given.

    `probe`, `classify` and `classify_tokens` learn from the model's own activations, `texts_probe` from the texts
    without any model, `model_probe` by gradients through the model; `make(ctx, seed)` builds a dictionary baseline for
    a site; `derive(sae, ctx, seed)` makes a control out of an SAE that is scored.
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
    trains: bool = False
    "Whether `make` trains an SAE, which takes minutes; a dry run leaves that alone."
    requires_ground_truth: bool = False
    "Whether it can be made only where the true features are known, on a synthetic world."
    needs: tuple[Need, ...] = ()
    "Packages beyond the suite's own; a run without them is refused at once."
    random: bool = False
    "Whether it is a random control: nothing in it was learned, so a metric should put it last."

    def __post_init__(self) -> None:
        if len(self._given()) != 1:
            raise ValueError(
                f"baseline {self.name!r} must give exactly one of probe, classify, classify_tokens, texts_probe,"
                " model_probe, make, derive"
            )

        if self.trains and self.make is None:
            raise ValueError(f"baseline {self.name!r} has trains=True, which is for what `make` trains")

    @property
    def method(self) -> Method:
        """The one way that is given."""
        return self._given()[0]

    def _given(self) -> list[Method]:
        ways: tuple[Method | None, ...] = (
            None if self.probe is None else FitsDirection(self.probe),
            None if self.classify is None else ClassifiesTexts(self.classify),
            None if self.classify_tokens is None else ClassifiesTokens(self.classify_tokens),
            None if self.texts_probe is None else ReadsTexts(self.texts_probe),
            None if self.model_probe is None else TrainsThroughModel(self.model_probe),
            None if self.make is None else MakesSAE(self.make),
            None if self.derive is None else DerivesSAE(self.derive),
        )
        return [way for way in ways if way is not None]
