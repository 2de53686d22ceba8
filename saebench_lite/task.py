"""The nouns a task works with: subjects, scores, baselines, and the task object itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
from torch import Tensor

from saebench_lite.card import Card, Form, Site
from saebench_lite.errors import NotApplicable, SaebenchError
from saebench_lite.sae import SAE, is_transcoder

if TYPE_CHECKING:
    from saebench_lite.acts import Acts
    from saebench_lite.bench import Bench
    from saebench_lite.data import Corpus

Kind = Literal["sae", "stand-in", "control", "baseline", "oracle"]


class Direction(NamedTuple):
    """A fitted linear probe: score(x) = x . weight + bias, positive means yes."""

    weight: Tensor
    "[problems, d]"
    bias: Tensor
    "[problems]"


class ProbeFit(Protocol):
    """Fits many yes/no problems on the same rows at once.

    x [n, d]; y [problems, n] in {0, 1}; use [problems, n] bool: the training rows of each problem. Test rows are never
    handed in. Returns one direction per problem, in x's own scale.
    """

    def __call__(self, x: Tensor, y: Tensor, use: Tensor, /) -> Direction: ...


class Classify(Protocol):
    """Learns one yes/no question on rows and judges other rows; for what no direction can express.

    x [n, d] training rows (one per text), y [n] in {0, 1}, judged [m, d]. Returns scores [m], positive means yes.
    Deterministic: random numbers come from a seed derived from the shapes.
    """

    def __call__(self, x: Tensor, y: Tensor, judged: Tensor, /) -> Tensor: ...


class ClassifyTokens(Protocol):
    """The same for what reads every token of a text: train (n texts), y [n], judged (m texts) -> scores [m]."""

    def __call__(self, train: Acts, y: Tensor, judged: Acts, /) -> Tensor: ...


class TextsProbe(Protocol):
    """Fits one yes/no problem on raw texts: train texts with labels y [n] bool -> scores [len(texts)] of `texts`."""

    def __call__(self, train: Sequence[str], y: Tensor, texts: Sequence[str], /) -> Tensor: ...


class ModelProbe(Protocol):
    """Trains one direction through the model itself: texts `rows` [n] of a corpus with labels y [n] bool."""

    def __call__(self, bench: Bench, corpus: Corpus, rows: Tensor, y: Tensor, /) -> Direction: ...


WAYS = ("probe", "classify", "classify_tokens", "texts_probe", "model_probe")
"How a baseline that is no SAE can learn."


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """What stands in the table next to SAEs. Exactly one of the seven ways below is given.

    `probe`, `classify` and `classify_tokens` learn from the model's own activations, `texts_probe` from the texts
    without any model, `model_probe` by gradients through the model; `make(bench, seed)` builds a stand-in SAE for a
    site; `derive(sae, bench, seed)` makes a control out of an SAE on trial.
    """

    name: str
    claim: str
    "One line: what doing as well as this baseline means."
    kind: Kind
    version: int = 1
    probe: ProbeFit | None = None
    classify: Classify | None = None
    classify_tokens: ClassifyTokens | None = None
    texts_probe: TextsProbe | None = None
    model_probe: ModelProbe | None = None
    make: Callable[[Bench, int], SAE] | None = None
    derive: Callable[[SAE, Bench, int], SAE] | None = None
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

    def the_sae(self) -> SAE:
        """The SAE; an error for a subject that has none."""
        if self.sae is None:
            raise SaebenchError(f"subject {self.name!r} is a probe and has no codes")
        return self.sae

    def the_autoencoder(self) -> SAE:
        """The SAE, for tasks that put its output or decoder beside its input; NotApplicable for a transcoder."""
        sae = self.the_sae()
        if is_transcoder(sae):
            raise NotApplicable(f"{self.name!r} is a transcoder: it writes another activation than it reads")
        return sae


class Scores:
    """Values by (metric, unit, seed). A metric's figure is the weighted mean over its units and seeds.

    With a ratio's denominator as weight, the mean over units is the pooled ratio, so one rule serves every metric.
    """

    def __init__(self) -> None:
        self._cells: dict[str, dict[tuple[str, int], tuple[float, float]]] = {}
        self.facts: dict[str, Any] = {}
        "Findings that are not metrics (selected latents, histograms); JSON types only."

    def add(self, metric: str, value: float, *, unit: str, seed: int = 0, weight: float = 1.0) -> None:
        """One value; NaN means that this unit cannot say (kept as missing), Inf is refused."""
        value, weight = float(value), float(weight)
        if np.isinf(value) or not np.isfinite(weight) or weight < 0:
            raise SaebenchError(f"metric {metric!r} on {unit!r} came out as {value} (weight {weight})")
        cells = self._cells.setdefault(metric, {})
        if (unit, seed) in cells:
            raise SaebenchError(f"metric {metric!r} was given twice for {unit!r} and seed {seed}")
        cells[unit, seed] = (value, weight)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that have values."""
        return tuple(self._cells)

    def table(self, metric: str) -> tuple[list[str], list[int], np.ndarray, np.ndarray]:
        """Units, seeds, and the values and weights [units, seeds] of one metric (NaN and 0 where missing)."""
        cells = self._cells[metric]
        units = list(dict.fromkeys(u for u, _ in cells))
        seeds = sorted({s for _, s in cells})
        values = np.full((len(units), len(seeds)), np.nan)
        weights = np.zeros_like(values)
        at_unit, at_seed = {u: i for i, u in enumerate(units)}, {s: i for i, s in enumerate(seeds)}
        for (unit, seed), (value, weight) in cells.items():
            values[at_unit[unit], at_seed[seed]] = value
            weights[at_unit[unit], at_seed[seed]] = weight
        return units, seeds, values, weights


@dataclass(frozen=True)
class Task:
    """A registered task: `prepare` is shared by all subjects of a site, `evaluate` is what one subject costs."""

    card: Card
    config: type
    "A frozen dataclass; its defaults are the official protocol."
    prepare: Callable[[Bench, Any, Sequence[int]], Any]
    "(bench, config, seeds) -> whatever evaluate needs. Raises NotApplicable where the site cannot serve."
    evaluate: Callable[[Subject, Bench, Any, Any, Sequence[int]], Scores]
    "(subject, bench, prepared, config, seeds) -> Scores over all seeds."
