"""What an attack does to each metric: the change paired over SAEs and units, and a verdict. Pure; reads records.

A metric pays when it rises (one-sided 95 %, and by `MINIMAL` at least) while recovery of the true features does not.
Recovery is judged by `JUDGE`, whose latent is chosen on other samples than it is scored on and which reads neither a
threshold at 0 nor the decoder; the other measures of recovery are on trial themselves. Where no truth is known, edits
add no knowledge of features by construction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from saebench_lite.records.arrays import in_all, on_common_units, oriented, unit_scores
from saebench_lite.records.record import Record
from saebench_lite.stats.intervals import collapse
from saebench_lite.stats.paired import pseudo_values
from saebench_lite.stats.student_t import t_quantile

Verdict = Literal["pays", "rises with recovery", "does not pay", "lowers"]
MINIMAL = 0.005
"Smallest mean change that counts."
JUDGE = "ap"
"Measure of recovery: average precision of the best latent, mean over features."
MARK = " + "
"Between the name of an SAE and that of an attack."


class Change(NamedTuple):
    """Mean change over SAEs and units, with a 90 % interval: each end is a one-sided 95 % bound."""

    mean: float
    low: float | None
    "None where there is only one SAE and one unit."
    high: float | None

    @property
    def noise(self) -> float:
        """Half the width of the interval, 0 where there is none."""
        return 0.0 if self.low is None or self.high is None else (self.high - self.low) / 2

    @property
    def rises(self) -> bool:
        """Whether it is above 0 by more than its noise, and above `MINIMAL`."""
        return self.low is not None and self.low > 0 and self.mean > MINIMAL

    @property
    def falls(self) -> bool:
        """The same below."""
        return self.high is not None and self.high < 0 and self.mean < -MINIMAL


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One metric under one attack."""

    task: str
    metric: str
    shown: bool
    "Whether a leaderboard shows the metric unasked; of recovery always."
    attack: str
    before: float
    "Mean over the SAEs as they are, in the metric's own direction."
    change: Change
    "Turned so that a rise is for the better."
    verdict: Verdict
    saes: int
    units: int
    "At least in one SAE."


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """An attack that has no meaning for an SAE."""

    sae: str
    attack: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run of attacks says."""

    model: str
    effects: list[Effect]
    refused: list[Refusal]
    means: dict[str, dict[str, tuple[float, float]]]
    "By attack d_sae, L0 and explained variance before and after it, means over the SAEs it was done to."


def mean_change(u: np.ndarray) -> Change:
    """Mean of u [SAEs, units] (NaN where missing) and its interval, SAEs and units both drawn at random.

    Two-way cluster-robust variance (Cameron, Gelbach & Miller 2011): over SAEs plus over units less over cells, not
    below the larger of the first two; Student's t with the smaller number of clusters less one.
    """
    known = np.isfinite(u)
    mean = float(u[known].mean())
    e = np.where(known, u - mean, 0.0)
    sides = [(e.sum(1)[known.any(1)], 0), (e.sum(0)[known.any(0)], 1)]
    several = [side for side, _ in sides if len(side) > 1]
    if not several:
        return Change(mean, None, None)
    total = known.sum()
    variances = [_cluster_variance(side, total) for side in several]
    variance = max(variances)
    if len(several) == 2:
        variance = max(variance, sum(variances) - _cluster_variance(e[known], total))
    half = t_quantile(0.95, min(map(len, several)) - 1) * float(np.sqrt(variance))
    return Change(mean, mean - half, mean + half)


def _cluster_variance(sums: np.ndarray, total: int) -> float:
    """Variance of a mean over `total` cells from the sums of residuals of each cluster [G >= 2]."""
    return float(len(sums) / (len(sums) - 1) * np.square(sums).sum() / total**2)


def effects(records: Sequence[Record], recoveries: Mapping[str, Mapping[str, np.ndarray]]) -> list[Effect]:
    """Effects of all attacks on all metrics with a direction, of each task those shown first, then recovery itself.

    Args:
        records: of SAEs and of attacked SAEs, named `SAE + attack`.
        recoveries: by subject and measure, values of features; empty where no truth is known.
    """
    tasks: dict[str, dict[str, Record]] = {}
    for record in records:
        if record.status == "ok":
            tasks.setdefault(record.task.name, {})[record.subject.name] = record
    effects = []
    changed = {key: _recovery_change(recoveries, *key) for key in _recovery_keys(recoveries)}
    recovered = {attack for (measure, attack), (change, _) in changed.items() if measure == JUDGE and change.rises}
    for of in tasks.values():
        for metric in _metrics(of):
            for attack in _attacks(of):
                effect = _effect(of, metric, attack, recovered)
                if effect is not None:
                    effects.append(effect)
    for (measure, attack), (change, before) in changed.items():
        verdict = _verdict(change, attack in recovered)
        names = [n for n in recoveries if n.endswith(MARK + attack)]
        effects.append(
            Effect(
                task="recovery",
                metric=measure,
                shown=True,
                attack=attack,
                before=before,
                change=change,
                verdict=verdict,
                saes=len(names),
                units=len(recoveries[names[0]][measure]),
            )
        )
    return effects


def paid(effects: Sequence[Effect]) -> str:
    """The verdict of one metric over all attacks: which pay, with the half-width of their interval, or that none does.

    The attack that comes closest is named where none pays, with its upper bound: the rise that is not ruled out.
    """
    pays = sorted((e for e in effects if e.verdict == "pays"), key=lambda e: -e.change.mean)
    if pays:
        return "pays: " + ", ".join(f"{e.attack} {e.change.mean:+.3f} (noise {e.change.noise:.3f})" for e in pays)
    bounded = [e for e in effects if e.change.high is not None]
    if not bounded:
        return "no attack pays"
    top = max(bounded, key=lambda e: (e.change.high or 0.0, e.change.mean))
    return f"no attack pays; at most {top.change.high:+.3f} ({top.attack} {top.change.mean:+.3f})"


def _verdict(change: Change, recovered: bool) -> Verdict:
    if change.falls:
        return "lowers"
    if change.rises:
        return "rises with recovery" if recovered else "pays"
    return "does not pay"


def _attacks(of: Mapping[str, object]) -> list[str]:
    return list(dict.fromkeys(n.rpartition(MARK)[2] for n in of if MARK in n))


def _metrics(of: Mapping[str, Record]) -> list[str]:
    """Metrics with a direction: those shown in their order, then the others by name, as records on disk have them.

    Fidelity, sparsity, pathology and cost are left out: they say what an edit did, and that is so whoever did it.
    """
    first = next(iter(of.values())).task
    directed = {
        m: about
        for r in of.values()
        for m, about in r.task.metrics.items()
        if about.better != "neither" and about.construct not in ("fidelity", "sparsity", "pathology", "cost")
    }
    return [*(m for m in first.shown if m in directed), *sorted(m for m in directed if m not in first.shown)]


def _effect(of: Mapping[str, Record], metric: str, attack: str, recovered: set[str]) -> Effect | None:
    """None where no SAE has the metric both ways."""
    rows: list[dict[str, float]] = []
    before = []
    for name, edited in of.items():
        stem, _, by = name.rpartition(MARK)
        if by != attack or stem not in of:
            continue
        row = unit_changes(of[stem], edited, metric)
        if row:
            rows.append(row)
            before.append(of[stem].scores[metric].value)
    if not rows:
        return None
    units = list(dict.fromkeys(u for row in rows for u in row))
    change = mean_change(np.array([[row.get(u, np.nan) for u in units] for row in rows]))
    first = next(iter(of.values()))
    return Effect(
        task=first.task.name,
        metric=metric,
        shown=metric in first.task.shown,
        attack=attack,
        before=float(np.mean(before)),
        change=change,
        verdict=_verdict(change, attack in recovered),
        saes=len(rows),
        units=len(units),
    )


def unit_changes(a: Record, b: Record, metric: str) -> dict[str, float]:
    """b minus a of a metric by unit, turned so that higher is better; empty where either lacks it.

    Values are jackknife pseudo-values of the difference of the weighted means: with equal weights the plain difference.
    """
    first, second = unit_scores(a, metric), unit_scores(b, metric)
    if first is None or second is None:
        return {}
    better = a.task.metrics[metric].better
    units = in_all([first.units, second.units])
    sides = [oriented(side, better) for side in on_common_units(first, second, by_seed=True)]
    if sides[0] is None or sides[1] is None:
        return {}
    (xa, wa), (xb, wb) = (collapse(*side) for side in sides if side is not None)
    keep = np.isfinite(xa) & np.isfinite(xb)
    if not keep.any():
        return {}
    values = pseudo_values(xb[keep], wb[keep], xa[keep], wa[keep])
    return dict(zip((u for u, k in zip(units, keep, strict=True) if k), values.tolist(), strict=True))


def _recovery_keys(recoveries: Mapping[str, Mapping[str, np.ndarray]]) -> list[tuple[str, str]]:
    measures = dict.fromkeys(m for of in recoveries.values() for m in of)
    return [(m, a) for m in measures for a in _attacks(recoveries)]


def _recovery_change(
    recoveries: Mapping[str, Mapping[str, np.ndarray]], measure: str, attack: str
) -> tuple[Change, float]:
    """Change of a measure over SAEs and features, and its mean before."""
    pairs = [
        (recoveries[name.rpartition(MARK)[0]][measure], of[measure])
        for name, of in recoveries.items()
        if name.rpartition(MARK)[2] == attack and MARK in name
    ]
    return mean_change(np.stack([b - a for a, b in pairs])), float(np.mean([a.mean() for a, _ in pairs]))
