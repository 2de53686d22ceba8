"""Grades of the suite's metrics by its own audit (`saebench-lite audit`)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from saebench_lite.records.metric import Better

PATH = Path(__file__).parent.parent / "bundled" / "grades.json"


UNGRADED = "ungraded"


REFERENCE = "truth"
"The task that the others are graded by."


@dataclass(frozen=True)
class Grades:
    """Letters by (task, version, metric); A is best, F fails."""

    letters: Mapping[tuple[str, int, str], str]

    def fails(self, task: str, version: int, metric: str) -> bool:
        """Whether the metric showed no agreement with the true features; False where it was not audited."""
        return self.letters.get((task, version, metric)) == "F"

    def grade_of(self, task: str, version: int, metric: str, better: Better) -> str | None:
        """Letter of a metric, `ungraded` where no audit has seen it, None where there is nothing to grade: metrics
        without a direction, and the truth itself.

        Args:
            task: its name.
            version: of the task.
            metric: its name.
            better: the metric's direction.
        """
        if better == "neither" or task == REFERENCE:
            return None
        return self.letters.get((task, version, metric), UNGRADED)


@cache
def shipped_grades() -> Grades:
    """The grades that this version of the package was published with."""
    return Grades({(g["task"], g["version"], g["metric"]): g["grade"] for g in json.loads(PATH.read_text())})
