"""Does a metric rank dictionaries by what is known of a world's causes? Pure: reads records, trains and scores nothing.

Four groups of SAEs of one width and about one L0 know less and less: the oracle, trained SAEs, the same trainings with
every decoder row kept near its random start, and random dictionaries. A metric ranks them where each group is above the
next, with 95 % intervals of all three differences above 0; it does not where one interval lies below 0; else it is
open. Differences are over the metric's units, each the mean over the SAEs of a group and over seeds; what another
training would change, they do not hold.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Literal, NamedTuple

import numpy as np

from saebench_lite.records.arrays import NamedScores, on_common_units, oriented, unit_scores
from saebench_lite.records.metric import Better
from saebench_lite.records.record import Record
from saebench_lite.records.verdicts import Verdict
from saebench_lite.stats.intervals import SHOWN_FROM, weighted_mean
from saebench_lite.stats.paired import UnitScores, paired

GROUPS = ("oracle", "trained", "soft-frozen", "untrained")
"From the one that knows most to the one that knows nothing."

TRUTHS = ("mcc_calibrated", "feature_ap", "feature_f1")
"""Metrics of the task `truth` that the page shows of each group: how well directions, codes, and whether a code is
above 0, are those of features."""

Ranks = Literal["ranks", "does not", "open"]
VERDICTS: dict[Ranks, Verdict] = {"ranks": "passes", "does not": "misses", "open": "open"}
"How a verdict of this audit stands among those that the package ships."


class Step(NamedTuple):
    """One group less the next, higher meaning better."""

    above: str
    below: str
    difference: float
    low: float | None
    "None where the units are too few or too alike for an interval."
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One metric and what came out."""

    task: str
    version: int
    metric: str
    construct: str | None
    better: Better
    headline: bool
    units: int
    "Of the group that has fewest."
    means: dict[str, float]
    "As the metric is, whatever its direction."
    steps: tuple[Step, ...]
    in_order: float
    "Share of the pairs of single SAEs of two groups in which the one that knows more scores better."
    verdict: Ranks


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the audit of a world found."""

    world: str
    "With its causes."
    command: str
    rows: list[Row]
    truth: dict[str, dict[str, float]]
    "Of each of `TRUTHS` the means of the groups."
    members: dict[str, list[str]]
    missing: dict[str, str]
    "Tasks without a world twin, and why."


def judged(records: Sequence[Record], groups: Mapping[str, str]) -> list[Row]:
    """A row for each metric with a direction that all groups have, headlines of a task first.

    Args:
        records: of all tasks; one that did not come out is left out.
        groups: by the name of a subject.
    """
    scored = [r for r in records if r.status == "ok" and r.subject.name in groups]
    rows = []
    for task in dict.fromkeys(r.task.name for r in scored):
        of = [r for r in scored if r.task.name == task]
        first = of[0].task
        declared = {name: metric for r in of for name, metric in r.task.metrics.items()}
        for name in sorted(declared, key=lambda m: m not in first.headline):
            tables = {g: _table([r for r in of if groups[r.subject.name] == g], name) for g in GROUPS}
            known = {g: t for g, t in tables.items() if t is not None}
            if declared[name].better == "neither" or len(known) < len(GROUPS):
                continue
            steps = tuple(_steps({g: t.turned for g, t in known.items()}))
            rows.append(
                Row(
                    task=task,
                    version=first.version,
                    metric=name,
                    construct=declared[name].construct,
                    better=declared[name].better,
                    headline=name in first.headline,
                    units=min(len(t.turned.units) for t in known.values()),
                    means={g: t.mean for g, t in known.items()},
                    steps=steps,
                    in_order=_in_order({g: t.single for g, t in known.items()}),
                    verdict=verdict(steps),
                )
            )
    return rows


def verdict(steps: Sequence[Step]) -> Ranks:
    """What the differences of consecutive groups say together."""
    if any(s.high is not None and s.high < 0 for s in steps):
        return "does not"
    return "ranks" if all(s.low is not None and s.low > 0 for s in steps) else "open"


class _Table(NamedTuple):
    """A metric of one group."""

    mean: float
    turned: NamedScores
    "Higher is better; a column for each SAE and seed."
    single: list[float]
    "Of each SAE, higher is better."


def _table(records: Sequence[Record], metric: str) -> _Table | None:
    """The SAEs of a group side by side; None where none has the metric."""
    named = [n for r in records if (n := unit_scores(r, metric)) is not None]
    if not named:
        return None
    better: Better = next(r.task.metrics[metric].better for r in records if metric in r.task.metrics)
    place = {u: i for i, u in enumerate(dict.fromkeys(u for n in named for u in n.units))}
    columns = sum(len(n.seeds) for n in named)
    values, weights = np.full((len(place), columns), np.nan), np.zeros((len(place), columns))
    column, single = 0, []
    for n in named:
        cells = np.ix_([place[u] for u in n.units], range(column, column + len(n.seeds)))
        values[cells], weights[cells] = n.scores
        column += len(n.seeds)
        single.append(weighted_mean(*(oriented(n.scores, better) or n.scores)))
    both = UnitScores(values, weights)
    turned = NamedScores(list(place), list(range(columns)), oriented(both, better) or both)
    return _Table(weighted_mean(*both), turned, single)


def _in_order(single: Mapping[str, Sequence[float]]) -> float:
    """Share of pairs of SAEs of two groups in which the one of the group that knows more is above; NaN without any."""
    pairs = [(a, b) for above, below in combinations(GROUPS, 2) for a in single[above] for b in single[below]]
    return float(np.mean([a > b for a, b in pairs])) if pairs else float("nan")


def _steps(tables: Mapping[str, NamedScores]) -> Iterator[Step]:
    """Each group less the next, over the units that both have, each averaged over SAEs and seeds first."""
    for above, below in pairwise(GROUPS):
        got = paired(*on_common_units(tables[above], tables[below], by_seed=False), by_seed=False)
        shown = got.n >= SHOWN_FROM
        yield Step(above, below, got.difference, got.low if shown else None, got.high if shown else None)
