"""Is a retrained SAE one more of its recipe? One p-value an SAE, from all metrics that it shares with its baselines.

Each metric, with or without a direction, is held against Student's prediction interval over the baselines; p-values
are combined by the Cauchy combination test within a construct (recovery, fidelity, sparsity, geometry, ...), so that a
construct of many metrics does not drown another, and then over constructs. With three baselines a prediction interval
has two degrees of freedom, and Holm over single metrics sees changes of about ten training sds alone; a fault moves
several metrics, some of which, as L0 and the cosine of encoder and decoder rows, hardly vary over training seeds.

Three rules for figures whose spread three baselines cannot show:
- A share of latents varies at least as a binomial draw of d_sae latents does, at the baselines' rate (c + 1/2) /
  (n + 1) of c of n latents (Jeffreys' prior; Brown, Cai & DasGupta 2001, Statistical Science 16).
- What is one number in every unit of every baseline, away from the metric's bounds, is fixed by the recipe, as the L0
  of TopK: another number is a change whose p-value is 0.
- What else agrees in all baselines tells nothing and is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from saebench_lite.records.arrays import stack
from saebench_lite.records.metric import Metric
from saebench_lite.report.counterparts import Counterparts
from saebench_lite.report.evidence import ARITHMETIC, over_training, valued_units
from saebench_lite.stats.combination import cauchy_combination
from saebench_lite.stats.paired import holm
from saebench_lite.stats.retraining import retraining_p

LEVEL = 0.025
"With the 2.5 % of a two-sided test of single metrics at 5 % that are losses, 5 % in all."
TOLD = 3
"Metrics named for a changed SAE."


@dataclass(frozen=True, kw_only=True)
class Moved:
    """One metric of an SAE beside its baselines."""

    task: str
    metric: str
    before: float
    "Mean over earlier SAEs."
    after: float
    p: float


@dataclass(frozen=True, kw_only=True)
class RecipeTest:
    """The outcome for one SAE."""

    subject: str
    seeds: tuple[int, int]
    "New SAEs and earlier ones."
    p: float
    "Of one recipe."
    p_holm: float
    "Adjusted over the SAEs of the check."
    metrics: int
    "How many were combined."
    moved: list[Moved]
    "Those with the smallest p-values, at most `TOLD`."

    @property
    def changed(self) -> bool:
        """Whether it is not one more of its recipe."""
        return self.p_holm <= LEVEL


def recipe_tests(pairs: Sequence[Counterparts]) -> list[RecipeTest]:
    """One test for each SAE that has several earlier ones; SAEs of which no metric can tell anything have none."""
    groups: dict[tuple[str, ...], list[Counterparts]] = {}
    for pair in pairs:
        if pair.retrained:
            groups.setdefault((pair.label, *(r.subject.fingerprint for r in pair.new)), []).append(pair)
    tests = [test for group in groups.values() if (test := _test(group)) is not None]
    adjusted = holm(np.array([t.p for t in tests]))
    return [replace(t, p_holm=float(q)) for t, q in zip(tests, adjusted, strict=True)]


def _test(group: Sequence[Counterparts]) -> RecipeTest | None:
    """The test of one SAE over its tasks, not yet adjusted; None where no metric tells anything."""
    by_construct: dict[str, list[Moved]] = {}
    for pair in group:
        for metric in pair.earlier[0].task.metrics.values():
            if metric.construct != "cost" and (moved := _moved(pair, metric)) is not None:
                by_construct.setdefault(metric.construct or "other", []).append(moved)
    if not by_construct:
        return None
    p = cauchy_combination(
        np.array([cauchy_combination(np.array([m.p for m in some])) for some in by_construct.values()])
    )
    every = sorted((m for some in by_construct.values() for m in some), key=lambda m: m.p)
    seeds = (len(group[0].new), len(group[0].earlier))
    return RecipeTest(subject=group[0].label, seeds=seeds, p=p, p_holm=p, metrics=len(every), moved=[*every[:TOLD]])


def _moved(pair: Counterparts, metric: Metric) -> Moved | None:
    """One metric's means and p-value; None where records lack it, have other units, or show no spread."""
    records, m = [*pair.new, *pair.earlier], len(pair.new)
    if any(metric.name not in r.per_unit or r.task.metrics[metric.name] != metric for r in records):
        return None
    alike = len({valued_units(r, metric.name) for r in records}) == 1
    both = stack(records, metric.name, turned=False) if alike else None
    if both is None:
        return None
    before, after = (float(np.mean([r.scores[metric.name].value for r in rs])) for rs in (pair.earlier, pair.new))
    floor = _binomial_error(pair, metric)
    p = retraining_p(over_training(*both, m, floor)[0])
    if len({r.scores[metric.name].value for r in pair.earlier}) == 1:
        fixed = _fixed(both[0][m:], metric)
        if abs(after - before) <= ARITHMETIC * abs(before) or not (fixed or floor > 0):
            return None
        p = 0.0 if fixed else p
    return Moved(task=pair.earlier[0].task.name, metric=metric.name, before=before, after=after, p=p)


def _fixed(x: np.ndarray, metric: Metric) -> bool:
    """Whether values of the baselines [runs, units > 1] are all one number that is no bound of the metric."""
    value = float(x.flat[0])
    return x.shape[1] > 1 and bool((x == value).all()) and value not in (metric.lower_bound, metric.upper_bound)


def _binomial_error(pair: Counterparts, metric: Metric) -> float:
    """Least standard error of the difference of a share of latents; 0 for other metrics or unknown widths."""
    widths = [w for r in pair.earlier if isinstance(w := r.subject.meta.get("d_sae"), int)]
    share = metric.construct in ("sparsity", "pathology") and (metric.lower_bound, metric.upper_bound) == (0.0, 1.0)
    if not share or len(widths) < len(pair.earlier):
        return 0.0
    found = sum(w * r.scores[metric.name].value for w, r in zip(widths, pair.earlier, strict=True))
    rate = (found + 0.5) / (sum(widths) + 1)
    return float(np.sqrt(rate * (1 - rate) * (1 / (widths[0] * len(pair.new)) + 1 / sum(widths))))
