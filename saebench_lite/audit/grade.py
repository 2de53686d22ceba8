"""From records to grades. Pure: reads records, trains and evaluates nothing.

Five lenses (Chanin, arXiv:2605.18229), each a number with a bar:
1. noise: sd over evaluation seeds (for tasks without seeds: standard error over blocks) over the span from the best
   random control to the oracle;
2. truth: Spearman correlation, over all SAEs and controls, with how well they found the true features: the mean of the
   ranks by feature F1, latent F1 and calibrated MCC; interval by bootstrap over SAEs;
3. growth: Spearman correlation with the training step, mean over the trainings followed;
4. power: sd over the variants of one architecture over the noise, geometric mean over architectures;
5. settings: mean Spearman correlation with the same score under other settings (k, pooling).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

import numpy as np

from saebench_lite.audit.correlations import bootstrap_spearman, mean_rank, spearman
from saebench_lite.audit.roles import SubjectRoles, roles_of
from saebench_lite.records.arrays import unit_scores
from saebench_lite.records.metric import higher_is_better
from saebench_lite.records.record import Record
from saebench_lite.stats.intervals import collapse, standard_error
from saebench_lite.stats.reseed_noise import pooled_sd

TRUTHS = ("feature_f1", "f1", "mcc_calibrated")
BARS = {"noise": 0.02, "truth": 0.5, "growth": 0.7, "power": 3.0, "settings": 0.7}
"What a lens asks for: noise at most, the others at least."
FAILS = 0.3
"A metric whose correlation with the truth is below this fails, whatever else it does."


@dataclass(frozen=True, kw_only=True)
class Grade:
    """One metric through the lenses; None where a lens cannot be applied."""

    task: str
    version: int
    metric: str
    grade: str
    truth: float
    truth_low: float
    truth_high: float
    by_truth: dict[str, float]
    noise: float | None
    growth: float | None
    power: float | None
    settings: float | None
    oracle: float | None
    "Value of the oracle."
    control: float | None
    "Best value of a random control."
    best: float
    worst: float
    oracle_first: bool | None
    random_last: bool | None
    values: dict[str, float] = field(default_factory=dict)
    "By subject. Here and in the four above higher is better: lower-is-better metrics are negated, ratios whose best is"
    " 1 are -|value - 1|."


class SignedScore(NamedTuple):
    """One metric of one subject, higher meaning better; NaN, empty and None where missing."""

    value: float
    per_seed: np.ndarray
    error: float | None
    "Standard error over units."


def signed_score(record: Record, metric: str) -> SignedScore:
    """A metric of a record, turned so that higher is better; ValueError for a metric without a direction."""
    score = record.scores.get(metric)
    if score is None:
        return SignedScore(float("nan"), np.empty(0), None)
    known = [score.value, *(v for v in score.per_seed if v is not None)]
    values = higher_is_better(np.array(known), record.task.metrics[metric].better, score.value)
    if values is None:
        raise ValueError(f"metric {metric!r} has no direction")
    return SignedScore(float(values[0]), values[1:], _error_over_units(record, metric))


def _error_over_units(record: Record, metric: str) -> float | None:
    """Standard error of the weighted mean over the units stored in a record.

    Not out of the interval: its ends are a bootstrap-t's or Student's, skewed, and cut at the metric's range.
    """
    named = unit_scores(record, metric)
    if named is None:
        return None
    x, w = collapse(*named.scores)
    known = np.isfinite(x)
    return standard_error(x[known], w[known]) if known.sum() > 1 else None


def setting_of(metric: str) -> tuple[str, str]:
    """(family, setting): `auroc_k5_mean` belongs to `auroc`, its setting is `k5 mean`."""
    parts = metric.split("_")
    settings = [p for p in parts if re.fullmatch(r"k\d+|mean|last|max", p)]
    return "_".join(p for p in parts if p not in settings), " ".join(settings)


def truths_of(records: Sequence[Record], names: Sequence[str]) -> np.ndarray:
    """Scores on the truth task. [truths, names]"""
    of = {r.subject.name: r.scores for r in records if r.status == "ok" and r.task.name == "truth"}
    return np.array([[of[n][t].value for n in names] for t in TRUTHS])


def composite_truth(records: Sequence[Record], names: Sequence[str]) -> np.ndarray:
    """Mean rank by the truths of each of `names`."""
    return mean_rank(truths_of(records, names))


def grades(records: Sequence[Record]) -> list[Grade]:
    """A grade for every metric with a direction, best first."""
    roles = roles_of(records)
    ok = [r for r in records if r.status == "ok"]
    judged = roles.judged
    truths = truths_of(ok, judged)
    by_metric: dict[tuple[str, str], dict[str, Record]] = {}
    for r in ok:
        for metric, about in r.task.metrics.items():
            if r.task.name != "truth" and about.better != "neither":
                by_metric.setdefault((r.task.name, metric), {})[r.subject.name] = r
    vectors = {
        key: np.array([signed_score(of[n], key[1]).value if n in of else np.nan for n in judged])
        for key, of in by_metric.items()
    }
    graded = [
        _grade(key, by_metric[key], vectors, roles, truths)
        for key in by_metric
        if np.isfinite(vectors[key]).sum() > 10 and np.nanstd(vectors[key]) > 0
    ]
    return sorted(graded, key=lambda g: (g.grade, -g.truth))


def _grade(
    key: tuple[str, str],
    of: dict[str, Record],
    vectors: dict[tuple[str, str], np.ndarray],
    roles: SubjectRoles,
    truths: np.ndarray,
) -> Grade:
    task, metric = key
    vector = vectors[key]
    ok = np.isfinite(vector)
    composite = mean_rank(truths[:, ok])
    value = spearman(vector[ok], composite)
    draws = bootstrap_spearman([vector[ok]], composite, f"{task} {metric}")[:, 0]
    low, high = np.nanquantile(draws, [0.025, 0.975])
    at = {n: signed_score(of[n], metric) for n in of}
    sd = _noise_sd([at[n] for n in roles.trained if n in at])
    oracle = at[roles.oracle].value if roles.oracle in at else None
    random = [at[n].value for n in roles.random if n in at]
    control = max(random) if random else None
    trained = [at[n].value for n in roles.trained if n in at]
    span = abs((oracle if oracle is not None else max(trained)) - (control if control is not None else min(trained)))
    lenses = {
        "noise": sd / span if sd is not None and span > 0 else None,
        "growth": _growth(at, roles.trajectories),
        "power": _power(at, roles.architectures, sd),
        "settings": _agreement(key, vectors),
    }
    return Grade(
        task=task,
        version=next(iter(of.values())).task.version,
        metric=metric,
        grade=letter(value, lenses),
        truth=value,
        truth_low=float(low),
        truth_high=float(high),
        by_truth={t: spearman(vector[ok], row[ok]) for t, row in zip(TRUTHS, truths, strict=True)},
        oracle=oracle,
        control=control,
        best=max(trained),
        worst=min(trained),
        oracle_first=None if oracle is None else oracle >= max([*trained, *random]) - 1e-9,
        random_last=None if not random else max(random) <= min(trained) + 1e-9,
        values={n: v.value for n, v in sorted(at.items())},
        **lenses,
    )


def letter(truth: float, lenses: dict[str, float | None]) -> str:
    """A: every lens that applies is passed; each one missed costs a letter; F: no agreement with the truth."""
    if not truth >= FAILS:
        return "F"
    missed = int(truth < BARS["truth"])
    for lens, value in lenses.items():
        if value is not None:
            missed += int(not (value <= BARS[lens] if lens == "noise" else value >= BARS[lens]))
    return "ABCDD"[min(missed, 4)]


def _noise_sd(scored: Sequence[SignedScore]) -> float | None:
    """Sd over evaluation seeds, pooled; for a task without seeds the root mean square of the errors over units."""
    sd, df = pooled_sd([s.per_seed for s in scored])
    if df > 0:
        return sd
    errors = [s.error for s in scored if s.error is not None]
    return float(np.sqrt(np.mean(np.square(errors)))) if errors else None


def _growth(at: dict[str, SignedScore], trajectories: Sequence[Sequence[str]]) -> float | None:
    values = [
        spearman(np.arange(len(names), dtype=float), np.array([at[n].value for n in names]))
        for names in trajectories
        if all(n in at and np.isfinite(at[n].value) for n in names)
    ]
    values = [v for v in values if v == v]
    return float(np.mean(values)) if values else None


def _power(at: dict[str, SignedScore], architectures: dict[str, list[str]], sd: float | None) -> float | None:
    if not sd:
        return None
    ratios = []
    for names in architectures.values():
        values = [at[n].value for n in names if n in at and np.isfinite(at[n].value)]
        if len(values) > 2:
            ratios.append(max(np.std(values, ddof=1) / sd, 1e-3))
    return float(np.exp(np.mean(np.log(ratios)))) if ratios else None


def _agreement(key: tuple[str, str], vectors: dict[tuple[str, str], np.ndarray]) -> float | None:
    task, metric = key
    family, _ = setting_of(metric)
    values = []
    for (other_task, other), vector in vectors.items():
        if other_task == task and other != metric and setting_of(other)[0] == family:
            both = np.isfinite(vector) & np.isfinite(vectors[key])
            values.append(spearman(vectors[key][both], vector[both]))
    values = [v for v in values if v == v]
    return float(np.mean(values)) if values else None


def as_rows(graded: Sequence[Grade]) -> list[dict[str, object]]:
    """Grades as JSON rows."""
    return [{k: v for k, v in asdict(g).items() if k != "values"} for g in graded]
