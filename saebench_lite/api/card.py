"""What a task declares about itself: its metrics with direction, unit, range and chance level, and what it needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from saebench_lite.errors import SaebenchError, kind_of
from saebench_lite.records.dataclass_json import hold_to_annotations
from saebench_lite.records.metric import Metric

Form = Literal["sae", "probe", "classifier", "texts"]
"What a subject is to a task: it has codes, it is a direction, or it only says yes or no about texts."


@dataclass(frozen=True, kw_only=True)
class Card:
    """A task's identity. `version` moves whenever a score on fixed inputs would move."""

    name: str
    version: int
    description: str
    "One line: the question the score answers."
    source: str
    "Paper, section, code the definition follows."
    headline: tuple[str, ...]
    "Metrics that a leaderboard shows and ranks by, most important first."
    metrics: tuple[Metric, ...]
    beside: tuple[str, ...] = ()
    "Metrics that a leaderboard shows after them, for comparison with other benchmarks or to read the headline by."
    accepts: tuple[Form, ...] = ("sae",)
    "Kinds of subject the task can score: codes, probes on activations, other classifiers of them, probes on raw texts."
    requires_ground_truth: bool = False
    "Whether it can run only where the true features are known, on a synthetic world."
    requires_next_token: bool = False
    "Whether it can run only on a model that predicts next tokens."
    requires_words: bool = False
    "Whether it needs a model with whole words in its vocabulary, unless the data bring examples of their own."
    on_request: tuple[str, ...] = ()
    """Metrics that the default settings do not yield, or only with data that carry what they need; the others always,
    from an SAE that shows its weights."""
    default: bool = True
    "Whether a run includes it unasked (False for those that take long)."
    seeded: bool = True
    "Whether the evaluation draws random numbers; an unseeded task runs once whatever --seeds says."

    def __post_init__(self) -> None:
        hold_to_annotations(self, f"card {self.name!r}")
        if strange := [m for m in self.metrics if not isinstance(m, Metric)]:
            raise SaebenchError(f"card {self.name!r} has {kind_of(strange[0])} among its metrics; give Metrics")
        names = [m.name for m in self.metrics]
        if len(set(names)) != len(names):
            raise SaebenchError(f"card {self.name!r} declares a metric twice")
        for field, listed in (("headline", self.headline), ("beside", self.beside), ("on_request", self.on_request)):
            if missing := [n for n in listed if n not in names]:
                raise SaebenchError(f"card {self.name!r} has {field} metrics it does not declare: {missing}")
        if twice := sorted({*self.headline} & {*self.beside}):
            raise SaebenchError(f"card {self.name!r} has headline metrics that are beside too: {twice}; name them once")

    @property
    def shown(self) -> tuple[str, ...]:
        """Metrics shown in a leaderboard by default: the headline, then those beside it."""
        return (*self.headline, *self.beside)

    def standing(self, name: str) -> str:
        """`headline`, `beside the headline`, `on request`, or nothing for a metric that is shown with all others."""
        places = {"headline": self.headline, "beside the headline": self.beside, "on request": self.on_request}
        return next((word for word, names in places.items() if name in names), "")

    def metric(self, name: str) -> Metric:
        """The declared metric called `name`; KeyError if there is none."""
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise KeyError(name)
