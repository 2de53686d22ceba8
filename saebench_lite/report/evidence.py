"""What the records of an SAE and of its counterparts show of one metric: the change, its noise, and whether it counts.

Three kinds of noise, by what there is:
- one earlier record: units (paired test, bootstrap-t), for a single unit its test texts;
- several earlier SAEs: training (Student's prediction interval), at least the noise over units;
- new evaluation seeds, and test texts where their errors are known: the minimum reliable difference of a metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from saebench_lite.records.arrays import metric_noise, on_common_units, oriented, stack, unit_errors, unit_scores
from saebench_lite.records.record import Record
from saebench_lite.report.compare import compared_levels
from saebench_lite.report.counterparts import Counterparts
from saebench_lite.stats.bootstrap_t import bootstrap_p
from saebench_lite.stats.contrasts import units_needed
from saebench_lite.stats.intervals import BOOTSTRAP_FROM, collapse, weighted_mean
from saebench_lite.stats.paired import alike, on_both, permutation_p, pseudo_values
from saebench_lite.stats.ranks import pseudo_means
from saebench_lite.stats.reseed_noise import Noise
from saebench_lite.stats.retraining import Retraining, retraining, retraining_p, seeds_needed
from saebench_lite.stats.single_unit import difference_over_texts
from saebench_lite.stats.student_t import normal_quantile, t_quantile

ARITHMETIC = 1e-4
"Change relative to the value that other hardware or library versions may cause without any random numbers."
COLUMNS = 256
"Comparisons whose resamples are in memory at once."


class Evidence(NamedTuple):
    """New minus earlier, turned so that positive is better."""

    gain: float
    units: np.ndarray
    "Each unit's part of it (jackknife pseudo-values), whose mean it is. [units]"
    texts: tuple[float, float] | None
    "Standard errors of both over the test texts of a single unit; None with more units, or where they are not known."
    training: Retraining | None
    "None with one earlier SAE."
    seeds: tuple[int, int]
    "New and earlier SAEs."
    identical: bool
    "Whether all units agree."

    @property
    def reach(self) -> float:
        """Half of the 95 % interval of the gain; NaN where no noise is known."""
        n = len(self.units)
        if self.training is not None:
            return t_quantile(0.975, self.training.df) * self.training.error if self.training.error else float("nan")
        if n > 1:
            return t_quantile(0.975, n - 1) * float(self.units.std(ddof=1)) / n**0.5
        return float("nan") if self.texts is None else normal_quantile(0.975) * float(np.hypot(*self.texts))

    @property
    def least_p(self) -> float:
        """The least p-value that so many units can give: by sign flips that of all on one side; 0 from other tests."""
        n = len(self.units)
        return 2.0 ** (1 - n) if self.training is None and 1 < n < BOOTSTRAP_FROM else 0.0

    @property
    def noisy(self) -> bool:
        """Whether any noise is known that a difference could be tested against."""
        if self.training is not None:
            return self.training.error > 0
        return len(self.units) > 1 or self.texts is not None


def evidence(pair: Counterparts, metric: str) -> Evidence:
    """What the records show of a metric that all of them hold on the same units."""
    better = pair.earlier[0].task.metrics[metric].better
    texts = _over_texts(pair, metric)
    if pair.retrained:
        both = stack([*pair.new, *pair.earlier], metric)
        assert both is not None  # the metric has a direction, the units are common
        drawn, units = over_training(*both, len(pair.new), float(np.hypot(*(texts or (0, 0)))))
        same = bool(np.ptp(both[0], axis=0).max() == 0)
        return Evidence(drawn.difference, units, texts, drawn, (len(pair.new), len(pair.earlier)), same)
    (new,), (old,) = pair.new, pair.earlier
    first, second = unit_scores(new, metric), unit_scores(old, metric)
    assert first is not None
    assert second is not None
    by_seed = seeds_agree(pair)
    common = on_both(*on_common_units(first, second, by_seed), by_seed=by_seed)
    a, b = (oriented(scores, better) or scores for scores in common)
    (xa, wa), (xb, wb) = collapse(*a), collapse(*b)
    units = pseudo_values(xa, wa, xb, wb)
    gain = weighted_mean(xa, wa) - weighted_mean(xb, wb)
    return Evidence(gain, units, texts, None, (1, 1), bool(alike(xa, xb).all()))


def levels(pair: Counterparts, metric: str) -> tuple[float, float]:
    """Mean score of the earlier and of the new SAEs, on the units that are compared."""
    records = [*pair.earlier, *pair.new]
    scores = [r.scores[metric].value for r in records]
    if not pair.retrained:
        found = compared_levels(pair.earlier[0], pair.new[0], metric, by_seed=seeds_agree(pair))
        scores = [found.a, found.b]
    elif len({valued_units(r, metric) for r in records}) > 1:
        both = stack(records, metric, turned=False)
        assert both is not None  # judged metrics have common units
        scores = [weighted_mean(x, w) for x, w in zip(*both, strict=True)]
    m = len(pair.earlier)
    return float(np.mean(scores[:m])), float(np.mean(scores[m:]))


def seeds_agree(pair: Counterparts) -> bool:
    """Whether all records are of the same evaluation seeds, so that values are paired seed by seed."""
    first, *rest = (r.seeds for r in (*pair.new, *pair.earlier))
    return all(seeds == first for seeds in rest)


def over_training(x: np.ndarray, w: np.ndarray, new: int, floor: float) -> tuple[Retraining, np.ndarray]:
    """The difference of new and earlier runs with its noise, and each unit's part of it [units].

    Args:
        x: scores of runs, the new ones first. [runs, units]
        w: their weights. [runs, units]
        new: how many runs are new.
        floor: least standard error where there is one unit; else it is that over units.
    """
    u = pseudo_means(x, w)
    units = u[:, :new].mean(1) - u[:, new:].mean(1)
    mean = u.mean(0)
    if len(units) > 1:
        floor = float(units.std(ddof=1)) / len(units) ** 0.5
    return retraining(mean[:new], mean[new:], floor), units


def _over_texts(pair: Counterparts, metric: str) -> tuple[float, float] | None:
    """Largest standard errors over test texts among new and earlier records, where all have one unit and know it."""
    sides = []
    for records in (pair.new, pair.earlier):
        errors = [list(unit_errors(r, metric).values()) for r in records]
        if any(len(e) != 1 for e in errors) or any(len(r.per_unit[metric].units) != 1 for r in records):
            return None
        sides.append(max(e[0] for e in errors))
    return sides[0], sides[1]


def p_values(items: Sequence[Evidence], beyond: Sequence[float]) -> np.ndarray:
    """Two-sided p-values of a true gain of `beyond` of each, NaN where no noise is known. [items]

    By the bootstrap over units; below `BOOTSTRAP_FROM` by sign flips, which hold their level with any number. With six
    to eleven units flips could not show a loss in one of many metrics, whatever its size.
    """
    out = np.full(len(items), np.nan)
    columns: dict[int, list[int]] = {}
    for i, (item, value) in enumerate(zip(items, beyond, strict=True)):
        if item.training is not None:
            out[i] = retraining_p(item.training, value)
        elif item.identical and value == 0:
            out[i] = 1.0 if len(item.units) > 1 else np.nan
        elif len(item.units) == 1:
            if item.texts is not None:
                out[i] = difference_over_texts(item.gain - value, *item.texts).p
        elif len(item.units) >= BOOTSTRAP_FROM and np.ptp(item.units) > 0:
            columns.setdefault(len(item.units), []).append(i)
        else:
            out[i] = permutation_p(item.units - value)
    for rows in columns.values():
        for low in range(0, len(rows), COLUMNS):
            part = rows[low : low + COLUMNS]
            out[part] = bootstrap_p(np.stack([items[i].units - beyond[i] for i in part], axis=1))
    return out


def further(item: Evidence, beyond: float, level: float) -> str | None:
    """What would decide, were the observed gain the true one: `about 4 more training seeds of each`; None if unknown.

    Args:
        item: what was found.
        beyond: the gain it is tested against.
        level: of the test.
    """
    n = len(item.units)
    needed = units_needed(item.units - beyond, level) if n > 1 and np.ptp(item.units) > 0 else None
    if item.least_p > level:  # so few decide nothing, whatever their values
        needed = max(needed or 0, BOOTSTRAP_FROM)
    more_units = None if needed is None or needed <= n else f"about {needed - n:,} more units (data sets, texts)"
    if item.training is None:
        return more_units
    m, r = item.seeds
    seeds = seeds_needed(item.training.sd, m, r, item.gain - beyond, level)
    if seeds is None:
        return "more than a thousand training seeds"
    more_seeds = f"about {seeds} more training seed{'s' if seeds > 1 else ''} of each"
    return more_seeds if more_units is None else f"{more_seeds} and {more_units}"


def valued_units(record: Record, metric: str) -> frozenset[str]:
    """Units of a record that have a value with a weight above 0; empty where it does not hold the metric."""
    named = unit_scores(record, metric)
    if named is None:
        return frozenset()
    x, _ = collapse(*named.scores)
    return frozenset(unit for unit, value in zip(named.units, x, strict=True) if np.isfinite(value))


class Noises:
    """Reseed noise of each metric over all SAEs scored under a protocol, computed once."""

    def __init__(self, scored: dict[str, list[Record]]) -> None:
        self.scored = scored
        self.known: dict[tuple[str, str], Noise | None] = {}

    def of(self, key: str, metric: str) -> Noise | None:
        """The noise of a metric under the protocol `key`; None where nobody has two seeds."""
        if (key, metric) not in self.known:
            self.known[key, metric] = metric_noise(self.scored[key], metric)
        return self.known[key, metric]
