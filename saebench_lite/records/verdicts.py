"""Verdicts of the suite's own audit: does a metric follow what it claims to measure, and nothing else?"""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from saebench_lite.records.metric import Metric

PATH = Path(__file__).parent.parent / "bundled" / "verdicts.json"

Verdict = Literal["passes", "misses", "open"]
"""On an oracle with planted faults a metric orders them by the truth of its construct and stays flat where that does
not change; it does not; or the interval of what was measured straddles the bar. Of planted causes: the metric ranks an
oracle over trained, soft-frozen and untrained SAEs; two of them stand the wrong way round; or that is not certain."""

UNAUDITED = "unaudited"


@dataclass(frozen=True)
class Verdicts:
    """Verdicts by (task, version, metric)."""

    by_metric: Mapping[tuple[str, int, str], Verdict]
    on_causes: frozenset[tuple[str, int, str]] = frozenset()
    "Those that were asked on planted causes; the others on planted faults."

    def misses(self, task: str, version: int, metric: str) -> bool:
        """Whether the metric misses its own construct; False where it was not audited."""
        return self.by_metric.get((task, version, metric)) == "misses"

    def headline(self, task: str, version: int, metrics: Sequence[str], directed: Container[str]) -> list[str]:
        """The headline metrics of a task without those that miss; all of them where none with a direction would stay.

        Args:
            task: its name.
            version: of the task.
            metrics: its headline.
            directed: metrics that have a direction.
        """
        kept = [m for m in metrics if not self.misses(task, version, m)]
        return kept if any(m in directed for m in kept) else list(metrics)

    def of(self, task: str, version: int, metric: Metric) -> str | None:
        """A metric's verdict, `unaudited` where no audit has seen it; None for one without a direction.

        Args:
            task: its name.
            version: of the task.
            metric: as the task declares it.
        """
        if metric.better == "neither":
            return None
        return self.by_metric.get((task, version, metric.name), UNAUDITED)


@cache
def shipped_verdicts() -> Verdicts:
    """The verdicts that this version of the package was published with."""
    rows = [((v["task"], v["version"], v["metric"]), v) for v in json.loads(PATH.read_text(encoding="utf-8"))]
    return Verdicts(
        {key: v["verdict"] for key, v in rows},
        frozenset(key for key, v in rows if v.get("asked_on") == "planted causes"),
    )


DOUBTED: dict[str, tuple[str, str]] = {
    "open": ("(open)", "the audit leaves open whether the metric follows what it claims to measure"),
    "misses": ("(misses)", "by the audit the metric does not follow what it claims to measure"),
    UNAUDITED: ("(?)", "no audit has seen the metric"),
}
"Verdict -> mark behind the name of a metric, and what it means."


def mark(verdict: str | None) -> str:
    """` (open)`, ` (misses)` or, for unaudited, ` (?)`, to stand behind a metric's name; empty for one that passes."""
    return f" {DOUBTED[verdict][0]}" if verdict in DOUBTED else ""


def marks_explained(verdicts: Iterable[str | None]) -> str:
    """What the marks of some metrics mean, in a sentence; empty where none has one."""
    there = set(verdicts)
    told = "; ".join(f"{sign}: {meaning}" for verdict, (sign, meaning) in DOUBTED.items() if verdict in there)
    return told and f"{told}."


def together(verdicts: list[Verdict]) -> Verdict:
    """The verdict over several worlds: `misses` if more than half of them do, `passes` if all do, else `open`."""
    unknown = set(verdicts) - set(get_args(Verdict))
    if unknown or not verdicts:
        raise ValueError(f"no verdicts of an audit: {verdicts}")
    if 2 * verdicts.count("misses") > len(verdicts):
        return "misses"
    return "passes" if set(verdicts) == {"passes"} else "open"
