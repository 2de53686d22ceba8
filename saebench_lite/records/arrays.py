"""From records to arrays: the values behind a metric, turned so that higher is better, on common units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import NamedTuple, TypeVar

import numpy as np

from saebench_lite.files import digest
from saebench_lite.records.metric import Better, higher_is_better
from saebench_lite.records.record import Record
from saebench_lite.records.summary import arrays, errors_of
from saebench_lite.stats.intervals import collapse, weighted_mean
from saebench_lite.stats.paired import UnitScores
from saebench_lite.stats.reseed_noise import Noise, reseed_noise, sampling_sd
from saebench_lite.stats.single_unit import mean_error

Name = TypeVar("Name", str, int)


class NamedScores(NamedTuple):
    """A metric's values with the names of their rows and columns."""

    units: list[str]
    seeds: list[int]
    scores: UnitScores


def unit_scores(record: Record, metric: str) -> NamedScores | None:
    """The values of a metric, or None where the record does not hold them."""
    stored = record.per_unit.get(metric)
    return None if stored is None else NamedScores(stored.units, stored.seeds, arrays(stored))


def oriented(scores: UnitScores, better: Better) -> UnitScores | None:
    """The same with higher values better, by `higher_is_better`; None for a metric without a direction."""
    values = higher_is_better(scores.values, better, weighted_mean(*scores))
    return None if values is None else UnitScores(values, scores.weights)


def in_all(lists: Sequence[Sequence[Name]]) -> list[Name]:
    """Names that all lists hold, in their order where they agree on one, else sorted.

    Resamples draw units by their place, so an order that depends on which list is the first would change p-values.
    """
    common = set(lists[0]).intersection(*lists[1:])
    first, *rest = ([name for name in names if name in common] for names in lists)
    return first if all(names == first for names in rest) else sorted(first)


def on_common_units(a: NamedScores, b: NamedScores, by_seed: bool) -> tuple[UnitScores, UnitScores]:
    """Rows of the units both have, by `in_all`; with `by_seed` also columns of the seeds both have."""
    units = in_all([a.units, b.units])
    seeds = in_all([a.seeds, b.seeds]) if by_seed else None

    def pick(named: NamedScores) -> UnitScores:
        row = {u: i for i, u in enumerate(named.units)}
        column = {s: i for i, s in enumerate(named.seeds)}
        rows = [row[u] for u in units]
        columns = [column[s] for s in (named.seeds if seeds is None else seeds)]
        grid = np.ix_(rows, columns)
        return UnitScores(named.scores.values[grid], named.scores.weights[grid])

    return pick(a), pick(b)


def unit_errors(record: Record, metric: str) -> dict[str, float]:
    """Standard error over test texts of each unit's mean over seeds, by unit; without those that are not known."""
    stored = record.per_unit.get(metric)
    errors = None if stored is None else errors_of(stored)
    if stored is None or errors is None:
        return {}
    errors = np.where(np.isfinite(arrays(stored).values), errors, np.nan)
    known = {unit: mean_error(row) for unit, row in zip(stored.units, errors, strict=True)}
    return {unit: error for unit, error in known.items() if error is not None}


def common_units(records: Sequence[Record], metric: str) -> list[str]:
    """Units with a value in all records, by `in_all`."""
    tables = []
    for record in records:
        named = unit_scores(record, metric)
        rows = () if named is None else zip(named.units, named.scores.values, strict=True)
        tables.append([unit for unit, values in rows if np.isfinite(values).any()])
    return in_all(tables) if tables else []


def stack(records: Sequence[Record], metric: str, turned: bool = True) -> tuple[np.ndarray, np.ndarray] | None:
    """Scores and weights [records, units] on the units all have; None without common units or, `turned`, direction.

    Seeds are averaged within a unit; a record without the metric must not be among `records`.

    Args:
        records: of one task.
        metric: its name.
        turned: whether higher is made better; else scores stay as they are.
    """
    tables, places = list[NamedScores](), list[dict[str, int]]()
    for record in records:
        named = unit_scores(record, metric)
        if named is None:
            return None
        x, _ = collapse(*named.scores)
        tables.append(named)
        places.append({u: i for i, u in enumerate(named.units) if np.isfinite(x[i])})
    common = in_all([list(place) for place in places]) if places else []
    if not common:
        return None
    x, w = [], []
    for record, named, place in zip(records, tables, places, strict=True):
        rows = [place[u] for u in common]
        scores: UnitScores | None = UnitScores(named.scores.values[rows], named.scores.weights[rows])
        if turned:  # by the side of 1 on which these values lie, where that is best
            scores = oriented(scores, record.task.metrics[metric].better)
        if scores is None:
            return None
        mean, weight = collapse(*scores)
        x.append(mean)
        w.append(weight)
    return np.array(x), np.array(w)


def per_seed(record: Record, metric: str) -> np.ndarray:
    """The metric's score under each seed [seeds]; empty for a task that draws no random numbers."""
    if not record.seeds or metric not in record.scores:
        return np.empty(0)
    return np.array(record.scores[metric].per_seed, dtype=np.float64)


def protocol(record: Record, seeds: bool = True) -> dict[str, object]:
    """What must agree for two scores to be compared, field by field, in the order in which to complain."""
    fields: dict[str, object] = {f"site {k}": v for k, v in asdict(record.site).items()}
    fields |= {"data": record.data.digest, "task version": record.task.version, "task package": record.task.package}
    fields |= {f"setting {k}": v for k, v in record.settings.items()}
    return fields | {"seeds": record.seeds} if seeds else fields


def protocol_key(record: Record, seeds: bool = True) -> str:
    """Equal for comparable records of a task."""
    return digest([record.task.name, protocol(record, seeds)])


def mismatches(a: Record, b: Record, seeds: bool = True) -> list[str]:
    """What keeps two records of one task from being compared, as `field (that of a and of b)`, the gravest first."""
    ours, theirs = protocol(a, seeds), protocol(b, seeds)
    if a.data.name != b.data.name:
        ours["data"], theirs["data"] = a.data.name, b.data.name
    fields = [f for f in dict.fromkeys([*ours, *theirs]) if ours.get(f) != theirs.get(f)]
    return [f"{f} ({ours.get(f)} and {theirs.get(f)})" for f in fields]


def metric_noise(records: Sequence[Record], metric: str) -> Noise | None:
    """Reseed noise of a metric pooled over records of one task; all zero for a task without random numbers."""
    scored = [r for r in records if metric in r.scores]
    if scored and not any(r.seeds for r in scored):
        return Noise(0.0, 0.0, 0.0, 0, 1)
    return reseed_noise([per_seed(r, metric) for r in scored], sampling_noise(scored, metric))


def sampling_noise(records: Sequence[Record], metric: str) -> list[float]:
    """sd of the metric under other test texts for each record that holds standard errors; empty where none does.

    Seeds that draw other test texts show a part of it in their spread as well, so that the minimum reliable difference
    counts that part twice: how much it is, records do not tell.
    """
    sds = []
    for record in records:
        errors = unit_errors(record, metric)
        if errors:
            stored = record.per_unit[metric]
            _, weights = collapse(*arrays(stored))
            sds.append(sampling_sd(np.array([errors.get(u, np.nan) for u in stored.units]), weights))
    return sds


def error_over_texts(record: Record, metric: str, units: Sequence[str]) -> float | None:
    """Standard error over test texts of a metric's mean over some of its units; None where that of one is not known."""
    errors, named = unit_errors(record, metric), unit_scores(record, metric)
    if named is None or not units or any(unit not in errors for unit in units):
        return None
    weights = dict(zip(named.units, collapse(*named.scores)[1].tolist(), strict=True))
    return sampling_sd(np.array([errors[u] for u in units]), np.array([weights[u] for u in units]))
