"""Two subjects side by side: paired differences per task and metric, from records alone."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from saebench_lite.errors import SaebenchError
from saebench_lite.records.arrays import (
    NamedScores,
    common_units,
    error_over_texts,
    metric_noise,
    mismatches,
    on_common_units,
    oriented,
    protocol_key,
    unit_scores,
)
from saebench_lite.records.metric import Better
from saebench_lite.records.record import Record, rounded
from saebench_lite.records.selection import site_and_data, site_titles, variant, variants
from saebench_lite.records.verdicts import shipped_verdicts
from saebench_lite.report.numbers import OWN_TEXTS
from saebench_lite.report.rows import Cell
from saebench_lite.report.sites import names_apart
from saebench_lite.stats.intervals import SHOWN_FROM, weighted_mean
from saebench_lite.stats.paired import Paired, first_of_each, holm, on_both, paired
from saebench_lite.stats.reseed_noise import Noise
from saebench_lite.stats.single_unit import difference_over_texts

Metrics = Literal["headline", "all"]


class Comparison(NamedTuple):
    """One metric of one task for subjects a and b."""

    task: str
    version: int
    variant: str
    "Settings and seeds, in 4 hex digits."
    metric: str
    better: Better
    a: float
    b: float
    "Scores on the units and seeds that both have a value on."
    paired: Paired
    "a minus b in the metric's own sign; for a metric whose best is 1, how much closer a is to it."
    p_holm: float | None
    "The bootstrap's p-value, adjusted over all rows of the comparison, of which those of the same values are one."
    noise: Noise | None
    verdict: str | None = None
    "Of the audit on the metric: passes, misses, open or unaudited; None without a direction."
    settings: str = ""
    "What tells this variant from the task's others; empty where there is one."
    units: tuple[int, int] | None = None
    "On which a and b have values by themselves, where they do not have the same values."
    site: str = ""
    "What tells its site and data from those of other rows; empty where there is one."
    repeats: int | None = None
    "Place of the first row with the same values in all units, of which this is no further test; None elsewhere."

    @property
    def counts(self) -> tuple[int, int, int]:
        """Units (won, tied, lost) by a; (above, equal, below) where the metric has no direction."""
        up, tie, down = self.paired.above, self.paired.equal, self.paired.below
        return (down, tie, up) if self.better == "lower" else (up, tie, down)

    @property
    def mrd(self) -> float | None:
        """Minimum reliable difference; None where seeds show no noise: there are none, there is one, or all agree."""
        return self.noise.mrd if self.noise is not None and self.noise.drawn else None


def compare_metric(a: Record, b: Record, metric: str, by_seed: bool) -> Paired | None:
    """Paired comparison of two comparable records on one metric; None where a record does not hold it.

    Fewer than `SHOWN_FROM` common units give an interval over their test texts, from the standard errors of both
    records as if they were independent, which is conservative; of one unit the p-value is over them too, of more there
    is none but that of sign flips, which holds its level with any number of units.

    Args:
        a: a record.
        b: a record that `protocol_key` calls comparable with it.
        metric: its name.
        by_seed: whether the same seeds are paired, or means over seeds.
    """
    first, second = unit_scores(a, metric), unit_scores(b, metric)
    if first is None or second is None:
        return None
    common = on_both(*on_common_units(first, second, by_seed), by_seed=by_seed)
    if a.task.metrics[metric].better == "one":  # turned by the side of 1 on which these values lie
        common = tuple(oriented(scores, "one") or scores for scores in common)
    result = paired(*common, by_seed=by_seed)
    return result if result.n >= SHOWN_FROM else _over_texts(result, a, b, metric)


def _over_texts(result: Paired, a: Record, b: Record, metric: str) -> Paired:
    """The comparison on few units with the interval over their test texts, where both records know all errors."""
    units = common_units([a, b], metric)
    errors = [error_over_texts(r, metric, units) for r in (a, b)]
    if len(units) != result.n or None in errors:
        return result._replace(low=None, high=None, p=None)
    tested = difference_over_texts(result.difference, *(e for e in errors if e is not None))
    return result._replace(low=tested.low, high=tested.high, p=tested.p if result.n == 1 else None)


def compare(
    ours: Sequence[Record], theirs: Sequence[Record], a: str, b: str, metrics: Metrics = "headline"
) -> tuple[list[Comparison], list[str]]:
    """Comparisons of subject `a` of one set of records with `b` of another (or the same), and why others are missing.

    SaebenchError for a name that has no records or if nothing can be compared.

    Args:
        ours: records that hold `a`.
        theirs: records that hold `b`.
        a: name of a subject.
        b: name of a subject.
        metrics: headline: those that tasks show unasked; or all.
    """
    first, second = subject_records(ours, a), subject_records(theirs, b)
    by_key, titles = {protocol_key(r): r for r in second}, site_titles(first)
    rows: list[Comparison] = []
    missing: list[str] = []
    for record in first:
        other = by_key.get(protocol_key(record))
        if other is None:
            missing.append(why_apart(record, second, b))
        elif bad := next((r for r in (record, other) if r.status != "ok"), None):
            missing.append(f"{record.task.name}: {bad.subject.name} is {bad.status} ({bad.reason})")
        else:
            rows += _rows(record, other, metrics, titles[site_and_data(record)])
    if not rows:
        raise SaebenchError(f"{a} and {b} cannot be compared: {'; '.join(missing)}")
    firsts = first_of_each([_values(r) for r in rows])
    adjusted = holm(np.array([np.nan if r.paired.p is None else r.paired.p for r in rows]), firsts)
    told = variants([*first, *second])
    shown = list(dict.fromkeys(r.site for r in rows))
    sites = dict(zip(shown, names_apart(shown)[1], strict=True))
    rows = [
        r._replace(
            p_holm=None if q != q else float(q),
            settings=told.get((r.task, r.variant), ""),
            site=sites[r.site],
            repeats=None if first == i else first,
        )
        for i, (r, q, first) in enumerate(zip(rows, adjusted, firsts, strict=True))
    ]
    return rows, missing


def _values(row: Comparison) -> Hashable | None:
    """What rows of the same values in all units agree in to the last digit; None where a and b may not be told apart.

    Without a difference two metrics may agree by chance, as shares that are 0 for both; then each is a test.
    """
    return (row.better, row.a, row.b, row.paired) if row.paired.p is not None and row.paired.p < 1 else None


def subject_records(records: Sequence[Record], name: str) -> list[Record]:
    """Records of a subject, by task; SaebenchError naming the subjects there are if it has none."""
    matching = sorted((r for r in records if r.subject.name == name), key=lambda r: (r.task.name, r.digest))
    if not matching:
        there = ", ".join(sorted({r.subject.name for r in records})) or "none"
        raise SaebenchError(f"no records of a subject called {name!r}; there are: {there}")
    return matching


def why_apart(record: Record, others: Sequence[Record], name: str, seeds: bool = True) -> str:
    """One sentence: `name` has no record of this task, or the first field in which its nearest one differs.

    Args:
        record: of the first subject.
        others: records of the second subject.
        name: of the second subject.
        seeds: whether seeds must agree too.
    """
    task = record.task.name
    reasons = [mismatches(record, o, seeds) for o in others if o.task.name == task]
    if not reasons:
        return f"{task}: {name} has no record of it"
    return f"{task}: different {min(reasons, key=len)[0]}"


def _rows(a: Record, b: Record, metrics: Metrics, site: str) -> list[Comparison]:
    rows = []
    for metric in a.task.shown if metrics == "headline" else a.scores:
        result = compare_metric(a, b, metric, by_seed=True)
        if result is not None:
            levels = compared_levels(a, b, metric, by_seed=True)
            row = Comparison(
                task=a.task.name,
                version=a.task.version,
                variant=variant(a),
                metric=metric,
                better=a.task.metrics[metric].better,
                a=levels.a,
                b=levels.b,
                paired=result,
                p_holm=None,
                noise=metric_noise([a, b], metric),
                verdict=shipped_verdicts().of(a.task.name, a.task.version, a.task.metrics[metric]),
                units=(_count(a, metric), _count(b, metric)) if levels.on_common else None,
                site=site,
            )
            rows.append(row)
    return rows


class Levels(NamedTuple):
    """Scores of two records of which a paired difference is made."""

    a: float
    b: float
    on_common: bool
    "Whether they are on the units and seeds where both have a value, because one lacks some that the other has."


def compared_levels(a: Record, b: Record, metric: str, *, by_seed: bool) -> Levels:
    """Scores of two records on the values that both have: their own where both have the same units and seeds.

    Args:
        a: a record.
        b: a record that `protocol_key` calls comparable with it.
        metric: its name.
        by_seed: whether a value under one seed alone is left out.
    """
    first, second = unit_scores(a, metric), unit_scores(b, metric)
    if first is None or second is None or _valued(first, by_seed) == _valued(second, by_seed):
        return Levels(a.scores[metric].value, b.scores[metric].value, False)
    ours, theirs = on_both(*on_common_units(first, second, by_seed), by_seed=by_seed)
    return Levels(weighted_mean(*ours), weighted_mean(*theirs), True)


def _valued(named: NamedScores, by_seed: bool) -> set[tuple[str, int | None]]:
    """Units, or units and seeds, that have a value."""
    rows, columns = (np.isfinite(named.scores.values) & (named.scores.weights > 0)).nonzero()
    places = zip(rows.tolist(), columns.tolist(), strict=True)
    return {(named.units[row], named.seeds[column] if by_seed else None) for row, column in places}


def _count(record: Record, metric: str) -> int:
    """Units with a value."""
    named = unit_scores(record, metric)
    return 0 if named is None else len(_valued(named, by_seed=False))


def to_rows(rows: Sequence[Comparison]) -> list[dict[str, Cell]]:
    """JSON rows of comparisons."""
    out = []
    for r in rows:
        won, tied, lost = r.counts
        numbers = {
            "a": r.a,
            "b": r.b,
            "difference": r.paired.difference,
            "low": r.paired.low,
            "high": r.paired.high,
            "p_bootstrap": r.paired.p,
            "p_permutation": r.paired.p_permutation,
            "p_holm": r.p_holm,
            "mrd": r.mrd,
        }
        row: dict[str, Cell] = {"site": r.site} if r.site else {}
        row |= {"task": r.task, "version": r.version, "variant": r.variant, "metric": r.metric}
        row |= {"better": r.better, "verdict": r.verdict} | {
            k: None if v is None else rounded(v) for k, v in numbers.items()
        }
        row["interval_over"] = None if r.paired.low is None else OWN_TEXTS if r.paired.n < SHOWN_FROM else "units"
        row["effect_over_mrd"] = rounded(abs(r.paired.difference) / r.mrd) if r.mrd else None
        row |= {"win": won, "tie": tied, "loss": lost, "units": r.paired.n, "on_common_units": r.units is not None}
        row["units_a"], row["units_b"] = r.units or (r.paired.n, r.paired.n)
        row["repeats_row"] = r.repeats
        out.append(row)
    return out
