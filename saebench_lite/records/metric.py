"""One metric as a task declares it: direction, unit, range, chance level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower", "one", "neither"]


ARROWS: dict[Better, str] = {"higher": "↑", "lower": "↓", "one": "→1", "neither": ""}


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One named number of a task."""

    name: str
    meaning: str
    better: Better
    unit: str = ""
    lo: float | None = None
    hi: float | None = None
    chance: float | None = None
    "What a subject that knows nothing scores, where that is known in advance."
