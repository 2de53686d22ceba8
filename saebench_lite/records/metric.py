"""One metric as a task declares it: direction, unit, bounds, chance level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from saebench_lite.records.dataclass_json import hold_to_annotations

Better = Literal["higher", "lower", "one", "neither"]

Construct = Literal["recovery", "fidelity", "sparsity", "hierarchy", "pathology", "geometry", "causal_effect", "cost"]
"""What a metric claims to measure: whether latents stand for the model's features; how much of the activation comes
back; how few latents fire, and how evenly; whether general features stay whole beside special ones; how many
latents are faulty; how the directions of latents lie to each other; what an intervention does; what it costs to run."""


ARROWS: dict[Better, str] = {"higher": "↑", "lower": "↓", "one": "→1", "neither": ""}


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One named number of a task."""

    name: str
    "Name in tables and records."
    meaning: str
    "One line: what the number is."
    better: Better
    "Direction: `one` is best at 1, `neither` describes and is not ranked."
    unit: str = ""
    "Unit of measurement; empty for a pure number."
    lower_bound: float | None = None
    "Least possible value; null where there is none."
    upper_bound: float | None = None
    "Greatest possible value; null where there is none."
    chance: float | None = None
    "Score of a subject that knows nothing; null where that is not known in advance."
    construct: Construct | None = None
    "What the metric claims to measure, on which the audit tries it; null where the task does not say."

    def __post_init__(self) -> None:
        hold_to_annotations(self, f"metric {self.name!r}")

    def summary(self) -> str:
        """Direction, unit, bounds, chance level and construct: `higher, 0 to 1, chance 0.5, recovery`."""
        low, high = self.lower_bound, self.upper_bound
        bounds = ""
        if low is not None and high is not None:
            bounds = f"{low:g} to {high:g}"
        elif low is not None:
            bounds = f"at least {low:g}"
        elif high is not None:
            bounds = f"at most {high:g}"
        chance = "" if self.chance is None else f"chance {self.chance:g}"
        return ", ".join(part for part in (self.better, self.unit, bounds, chance, self.construct) if part)


def higher_is_better(values: np.ndarray, better: Better, mean: float) -> np.ndarray | None:
    """Values of one metric turned so that higher is better; None for a metric without a direction.

    For a metric whose best is 1 the values are mirrored about 1 if `mean`, the metric's figure, lies above it. The
    mean of the result is then minus the distance of `mean` from 1, and the spread of the values stays what it was.
    """
    if better == "higher":
        return values
    if better == "lower":
        return -values
    if better == "one":
        return -(values - 1) if mean >= 1 else values - 1
    return None
