"""Which metrics of new and earlier records can be held against each other, and why others cannot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from saebench_lite.records.record import Record
from saebench_lite.records.summary import arrays
from saebench_lite.report.compare import Metrics
from saebench_lite.report.counterparts import Counterparts
from saebench_lite.report.evidence import seeds_agree, valued_units
from saebench_lite.stats.intervals import weighted_mean

TOLERANCE = 1e-7
"Difference of a score from the mean of its units, relative to the largest of them, that rounding explains."
TOLD = 5
"Units named, at most."
COMMON = 0.5
"""Share of the units of the earlier record with the fewest that all must have, where SAEs have no value on some.

Not a share of all units: each further seed leaves out letters of its own, so that fewer and fewer are common.
"""


class Judged(NamedTuple):
    """What can be compared, and sentences on what cannot."""

    metrics: list[str]
    "Those with a direction that both sides hold."
    faults: list[str]


def judged_metrics(pair: Counterparts, metrics: Metrics) -> Judged:
    """Which metrics of new and earlier records can be compared.

    Faults: a metric that one side lacks, values on other units than the other side's, another direction or other
    metrics shown unasked in one version of the task, a score that is not that of its units, no metric to judge at all.
    No fault: units that a metric of another SAE leaves out though it has other metrics of the task on them, as letters
    on which absorption finds nothing to measure; those that all have are compared, if they are enough (`COMMON`).
    """
    first, records = pair.earlier[0].task, [*pair.new, *pair.earlier]
    wanted = first.shown if metrics == "headline" else list(first.metrics)
    names, faults = list[str](), list[str]()
    for metric in wanted:
        holders = [r for r in records if metric in r.per_unit]
        if not holders:
            continue
        directions = {r.task.metrics[metric].better for r in holders}
        if directions == {"neither"}:
            continue
        sentences = list(_faults(pair, metric))
        if len(directions) > 1:
            words = " and ".join(sorted(directions))
            sentences.append(f"{metric} has several directions in one version of the task ({words}); was it edited?")
        if sentences:
            faults += [f"{pair.label}: {first.name} {s}" for s in sentences]
        else:
            names.append(metric)
    if not faults and any(set(r.task.shown) != set(first.shown) for r in records):
        faults.append(
            f"{pair.label}: {first.name} shows several sets of metrics in one version of the task; was it edited?"
        )
    if not names and not faults:
        faults.append(
            f"{pair.label}: {first.name} has no metric to judge: none of {metrics} has a direction and values"
        )
    return Judged(names, faults)


def remarks(pair: Counterparts, metric: str) -> list[str]:
    """Sentences on values that some records have and others lack, which figures of a judged metric do not stand on."""
    told = [*_on_common_units(pair, metric), *_lost_under_seeds(pair, metric)]
    return [f"{pair.label}: {pair.earlier[0].task.name} {s}" for s in told]


def _faults(pair: Counterparts, metric: str) -> Iterator[str]:
    """What keeps new and earlier records from being compared on a metric; the task's name is put in front."""
    if any(metric not in r.per_unit for r in pair.new):
        yield f"has no {metric} any more"
        return
    if any(metric not in r.per_unit for r in pair.earlier):
        yield f"has {metric} now, and a baseline has not"
        return
    if not _compared_on_common(pair, metric):
        yield from _other_units(pair, metric)
    yield from _other_seeds(pair, metric)
    for record in (*pair.new, *pair.earlier):
        table, value = arrays(record.per_unit[metric]), record.scores[metric].value
        mean = weighted_mean(*table)
        if not abs(mean - value) <= TOLERANCE * np.nanmax(np.abs(table.values), initial=0.0):
            yield f"{metric} of {record.subject.name} is {value:.6g} and by its units {mean:.6g}; was it edited?"


def _other_units(pair: Counterparts, metric: str) -> Iterator[str]:
    """A sentence where new and earlier records do not have the same units, or none."""
    ours, theirs = _units(pair.new, metric), _units(pair.earlier, metric)
    if lost := len(theirs[0] - ours[1]):
        yield f"{metric} has values on {len(theirs[0]) - lost} of the baseline's {len(theirs[0])} units"
    elif extra := len(ours[0] - theirs[1]):
        yield f"{metric} has values on {len(ours[0])} units, {extra} more than the baseline"
    elif not theirs[0]:
        yield f"{metric} has values on no unit"


def _other_seeds(pair: Counterparts, metric: str) -> Iterator[str]:
    """A sentence where values that are paired seed by seed lie under other seeds, or none."""
    if pair.retrained or not seeds_agree(pair):
        return
    records = [*pair.new, *pair.earlier]
    ours, theirs = (_seeds_of(r, metric) for r in records)
    common = _units(records, metric)[1]
    paired = [u for u in common if ours[u] & theirs[u]]
    if len(paired) < COMMON * len(common):
        yield f"{metric} has values under a seed of the baseline's on {len(paired)} of {len(common)} units"


def _units(records: Sequence[Record], metric: str) -> tuple[frozenset[str], frozenset[str]]:
    """Units on which any record has a value, and those on which all have."""
    tables = [valued_units(r, metric) for r in records]
    return frozenset.union(*tables), frozenset.intersection(*tables)


def _compared_on_common(pair: Counterparts, metric: str) -> bool:
    """Whether records have values on other units, but enough in common, and each was scored on all of them.

    Not where a unit stands in the metric without a value, nor for equal weights, whose units only other code changes.
    """
    records = [*pair.new, *pair.earlier]
    any_has, all_have = _units(records, metric)
    if pair.same_weights or any(len(valued_units(r, metric)) < len(r.per_unit[metric].units) for r in records):
        return False
    scored = (frozenset.union(*(valued_units(r, m) for m in r.per_unit)) for r in records)
    fewest = min(len(valued_units(r, metric)) for r in pair.earlier)
    enough = COMMON * fewest <= len(all_have) < len(any_has)
    return enough and all(any_has <= units for units in scored)


def _on_common_units(pair: Counterparts, metric: str) -> Iterator[str]:
    """A sentence where not all units are compared; the task's name is put in front."""
    if _compared_on_common(pair, metric):
        any_has, all_have = _units([*pair.new, *pair.earlier], metric)
        lacking = ", ".join(sorted(any_has - all_have)[:TOLD])
        yield f"{metric} is judged on the {len(all_have)} of {len(any_has)} units with a value in all (not {lacking})"


def _lost_under_seeds(pair: Counterparts, metric: str) -> Iterator[str]:
    """A sentence where units that all have lack a value under an evaluation seed in some records and not in others."""
    records, agree = [*pair.new, *pair.earlier], seeds_agree(pair)
    held = [(_seeds_of(r, metric), len(r.per_unit[metric].seeds)) for r in records]
    common = _units(records, metric)[1]
    apart = sorted(u for u in common if len({of[u] if agree else n - len(of[u]) for of, n in held}) > 1)
    if not apart:
        return
    units = f"{len(apart)} unit{'s' if len(apart) > 1 else ''} ({', '.join(apart[:TOLD])})"
    if agree and not pair.retrained:
        yield f"{metric} is judged at the units and seeds where both have a value; one lacks some on {units}"
    else:
        fewer = "means over fewer seeds stand there and move the gain"
        yield f"{metric} lacks values under some evaluation seeds on {units} in some records alone; {fewer}"


def _seeds_of(record: Record, metric: str) -> dict[str, frozenset[int]]:
    """Evaluation seeds under which each unit has a value."""
    stored = record.per_unit[metric]
    table = arrays(stored)
    known = np.isfinite(table.values) & (table.weights > 0)
    return {
        unit: frozenset(seed for seed, there in zip(stored.seeds, row, strict=True) if there)
        for unit, row in zip(stored.units, known.tolist(), strict=True)
    }
