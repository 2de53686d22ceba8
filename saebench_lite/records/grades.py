"""Grades of the suite's metrics by its own audit (`saebench-lite audit`), as shipped with this version."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

PATH = Path(__file__).parent.parent / "bundled" / "grades.json"


UNGRADED = "ungraded"


REFERENCE = "truth"
"The task that the others are graded by."


@cache
def grades() -> dict[tuple[str, int, str], str]:
    """(task, version, metric) -> letter; A is best, F fails."""
    return {(g["task"], g["version"], g["metric"]): g["grade"] for g in json.loads(PATH.read_text())}


def fails(task: str, version: int, metric: str) -> bool:
    """Whether the audit found no agreement of the metric with the true features; False where it was not audited."""
    return grades().get((task, version, metric)) == "F"


def grade_of(task: str, version: int, metric: str, better: str) -> str | None:
    """Letter of a metric, `ungraded` where no audit has seen it, None where there is nothing to grade: metrics without
    a direction, and the truth itself."""
    if better == "neither" or task == REFERENCE:
        return None
    return grades().get((task, version, metric), UNGRADED)
