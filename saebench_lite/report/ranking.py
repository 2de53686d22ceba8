"""What one metric's records say together: control tests, order among SAEs, calibrated scores, reseed noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from saebench_lite.records.arrays import common_units, metric_noise, stack, unit_errors
from saebench_lite.records.record import Record
from saebench_lite.report.random_controls import is_random, matches
from saebench_lite.stats.bootstrap_t import FAMILY_LEVEL
from saebench_lite.stats.intervals import FEW, SAME, SHOWN_FROM
from saebench_lite.stats.paired import holm
from saebench_lite.stats.ranks import above_control, calibrated, order, outside_group, same_scores
from saebench_lite.stats.reseed_noise import Noise
from saebench_lite.stats.single_unit import Difference, difference_over_texts

MOST_SAES = 100
"SAEs beyond which pairs of them are not tested: time and memory grow with the square."


class SubjectRank(NamedTuple):
    """Where a subject stands on one metric; None where the records cannot say."""

    control: str | None = None
    "The control it is tested against; None for all but SAEs."
    above_control: bool | None = None
    "Whether it is significantly better than that control."
    baseline: str | None = None
    "The best supervised baseline; None for all but SAEs."
    below_baseline: bool | None = None
    "Whether it is significantly worse than that baseline."
    rank: tuple[int, int] | None = None
    "(best, worst) rank among the SAEs, a 95 % interval; None for all but SAEs and below `FEW` units."
    tied_with_best: bool | None = None
    "Whether no SAE is significantly better."
    better_than: int | None = None
    "SAEs that this one is certainly better than."
    likely_better_than: int | None = None
    "SAEs that this one is likely better than, the certain ones included."
    beside: str | None = None
    "Of a subject that is no SAE: `above all SAEs`, `below all SAEs` or None."
    calibrated: tuple[float, float, float] | None = None
    "(value, low, high) of (raw - control) / (ceiling - control)."


class MetricRanking(NamedTuple):
    """One metric under one protocol."""

    of: dict[str, SubjectRank]
    noise: Noise | None
    "Of the SAEs; of all subjects where there is no SAE."
    control: str | None
    "Best control, the calibrated scale's 0."
    ceiling: str | None
    "Best supervised baseline or oracle, its 1."
    note: str | None
    "Why there is no test of pairs of SAEs."
    saes: int = 0
    "SAEs that are ranked, each once where several score the same."
    unscaled: str | None = None
    "Why there is no calibrated scale although there are both a control and a baseline."


class Field(NamedTuple):
    """Comparable records with their oriented scores, and which rows play which part."""

    records: list[Record]
    x: np.ndarray
    "Higher is better. [subjects, units]"
    w: np.ndarray
    "[subjects, units]"
    saes: list[int]
    "SAEs, of those that score the same only the first by name."
    twin: dict[int, int]
    "Row of another subject that scores the same as an SAE -> row of that SAE."
    controls: list[int]
    "Controls that score the same as no SAE."
    errors: np.ndarray | None = None
    "Where there is one common unit: standard errors over its test texts, NaN where not known. [subjects]"

    @property
    def mean(self) -> np.ndarray:
        """Weighted means. [subjects]"""
        return (self.w * self.x).sum(1) / self.w.sum(1)

    def best(self, rows: Sequence[int]) -> int:
        """The row of the highest mean, of equal ones the first by its subject's name."""
        mean = self.mean
        return min(rows, key=lambda i: (-mean[i], self.records[i].subject.name))

    def random_controls(self) -> list[int]:
        """Controls that are random SAEs; all controls where there is none."""
        return [i for i in self.controls if is_random(self.records[i].subject)] or self.controls


def field(records: Sequence[Record], metric: str) -> Field | None:
    """The field of comparable records, one a subject; None for a metric without direction or common units.

    Controls made of an SAE that score the very same did not touch what the metric reads: they are twins, no controls.
    """
    scored = [r for r in records if r.status == "ok" and metric in r.scores]
    stacked = stack(scored, metric)
    if stacked is None:
        return None
    x, w = stacked
    by_name = sorted(range(len(scored)), key=lambda i: scored[i].subject.name)
    saes, twin = _told_apart(scored, x, by_name)
    controls = [i for i in by_name if scored[i].subject.kind == "control" and i not in twin]
    errors = None
    if x.shape[1] == 1:
        (unit,) = common_units(scored, metric)
        errors = np.array([unit_errors(r, metric).get(unit, np.nan) for r in scored])
    return Field(scored, x, w, sorted(saes), twin, controls, errors)


def _told_apart(records: Sequence[Record], x: np.ndarray, by_name: Sequence[int]) -> tuple[list[int], dict[int, int]]:
    """Rows of SAEs, of equal ones the first by name, and the other rows that score the same as one of these.

    Rows are sorted by their first score, so that each is compared with its neighbours alone.

    Args:
        records: one a row.
        x: scores. [rows, units]
        by_name: rows in the order of their subjects' names.
    """
    place = {i: at for at, i in enumerate(sorted(by_name, key=lambda i: records[i].subject.kind != "sae"))}
    ascending = np.argsort(x[:, 0], kind="stable")
    first = x[ascending, 0]
    saes: list[int] = []
    twin: dict[int, int] = {}
    known = np.zeros(len(x), dtype=bool)
    for i in place:
        slack = 2 * SAME * abs(x[i, 0])
        low = np.searchsorted(first, x[i, 0] - slack, side="left")
        high = np.searchsorted(first, x[i, 0] + slack, side="right")
        near = ascending[low:high]
        near = near[known[near]]
        near = near[same_scores(x[i], x[near])].tolist()
        if near:
            twin[i] = min(near, key=lambda j: place[j])
        elif records[i].subject.kind == "sae":
            saes.append(i)
            known[i] = True
    return saes, twin


def rank_metric(records: Sequence[Record], metric: str) -> MetricRanking:
    """Ranks, calibrated scores and noise of comparable records, one a subject; without the metric: left out."""
    scored = [r for r in records if r.status == "ok" and metric in r.scores]
    noise = metric_noise([r for r in scored if r.subject.kind == "sae"] or scored, metric)
    f = field(records, metric)
    if f is None:
        return MetricRanking({}, noise, None, None, None)
    places = {i: SubjectRank() for i in range(len(f.records))}
    few = len(f.saes) <= MOST_SAES
    for marks in (_controls(f), _below_baseline(f), *((_order(f), _beside(f)) if few else ())):
        for i, fields in marks.items():
            places[i] = places[i]._replace(**fields)
    for i, original in f.twin.items():
        if f.records[i].subject.kind == "sae":
            places[i] = places[original]
    ceilings = [i for i, r in enumerate(f.records) if r.subject.kind in ("baseline", "oracle")]
    scale = (f.best(f.random_controls()), f.best(ceilings)) if f.controls and ceilings else ()
    control, ceiling = (f.records[i].subject.name for i in scale) if scale else (None, None)
    note, unscaled = None if few else too_many(len(f.saes)), None
    if scale and calibrated(f.x[[scale[0], *scale]], f.w[[scale[0], *scale]]) is None:
        scale = ()
        unscaled = f"fewer than {SHOWN_FROM} units"
        if f.x.shape[1] >= SHOWN_FROM:
            ends = f"the best baseline ({ceiling}) is not known to be four standard errors better than"
            unscaled = f"{ends} the best random control ({control})"
    for i in places if scale else ():
        rows = [i, *scale]
        places[i] = places[i]._replace(calibrated=calibrated(f.x[rows], f.w[rows]))
    of = {f.records[i].subject.name: place for i, place in places.items()}
    return MetricRanking(of, noise, control, ceiling, note, len(f.saes), unscaled)


def too_many(saes: int) -> str:
    """Why so many SAEs are not ranked."""
    return (
        f"No ranks and no front: {saes} SAEs are more than {MOST_SAES}, whose pairs are too many to test; compare two"
        " of them with the command compare, or show fewer"
    )


def _controls(f: Field) -> dict[int, dict[str, object]]:
    """Each SAE against the random control of its width and L0, else against the best random control of the table."""
    if not f.saes or not f.controls or (f.errors is None and f.x.shape[1] < SHOWN_FROM):
        return {}
    usual = f.best(f.random_controls())
    of = [matched(f, i, usual) for i in f.saes]
    pairs = [*zip(f.saes, of, strict=True)]
    return {
        i: {"control": f.records[c].subject.name, "above_control": above}
        for (i, c), above in zip(pairs, _above(f, pairs), strict=True)
        if above is not None
    }


def _below_baseline(f: Field) -> dict[int, dict[str, object]]:
    """The best supervised baseline against each SAE, tested as an SAE against its control."""
    baselines = [i for i, r in enumerate(f.records) if r.subject.kind == "baseline"]
    if not f.saes or not baselines or (f.errors is None and f.x.shape[1] < SHOWN_FROM):
        return {}
    best = f.best(baselines)
    return {
        i: {"baseline": f.records[best].subject.name, "below_baseline": below}
        for i, below in zip(f.saes, _above(f, [(best, i) for i in f.saes]), strict=True)
        if below is not None
    }


def _above(f: Field, pairs: Sequence[tuple[int, int]]) -> list[bool | None]:
    """Whether the first of each pair of rows is above the second, over all pairs at once; None where none is tested."""
    rows = np.array(pairs)
    p = above_control(f.x, f.w, rows) if f.errors is None else _above_on_one_unit(f, rows)
    level = FAMILY_LEVEL if f.errors is None else 0.05
    return [bool(q <= level) if np.isfinite(q) else None for q in p]


def _above_on_one_unit(f: Field, pairs: np.ndarray) -> np.ndarray:
    """One-sided p-values that the first of each pair of rows [tests, 2] is above the second, by errors over texts.

    Adjusted over the pairs (Holm); NaN where an error is not known.
    """
    tested = [over_texts(f, a, b) for a, b in pairs]
    return holm(np.array([np.nan if t is None else t.p_above for t in tested]))


def over_texts(f: Field, a: int, b: int) -> Difference | None:
    """Tests of row a minus row b of a field with one unit; None where an error is not known.

    Args:
        f: comparable records.
        a: row of a subject.
        b: row of another.
    """
    if f.errors is None or not np.isfinite(f.errors[[a, b]]).all():
        return None
    return difference_over_texts(float(f.x[a, 0] - f.x[b, 0]), *f.errors[[a, b]].tolist())


def matched(f: Field, sae: int, usual: int) -> int:
    """The row of an SAE's own random control: of those of its width and nearly its L0 the best; else `usual`.

    A control made of the SAE is one of them. Where several are as good a match, an SAE has to beat them all.

    Args:
        f: comparable records.
        sae: row of the SAE.
        usual: row of the control for an SAE without one.
    """
    subject = f.records[sae].subject
    own = [i for i in f.controls if matches(subject, f.records[i].subject)]
    return f.best(own) if own else usual


def _order(f: Field) -> dict[int, dict[str, object]]:
    """Ranks and marks among SAEs, from `FEW` units and two SAEs."""
    if len(f.saes) < 2 or f.x.shape[1] < FEW:
        return {}
    got = order(f.x[f.saes], f.w[f.saes])
    return {
        row: {
            "rank": (int(got.low[k]), int(got.high[k])),
            "tied_with_best": bool(got.may_be_best[k]),
            "better_than": int(got.above[k].sum()),
            "likely_better_than": int(got.likely[k].sum()),
        }
        for k, row in enumerate(f.saes)
    }


def _beside(f: Field) -> dict[int, dict[str, object]]:
    """The others against all SAEs at once, from `FEW` units."""
    others = [i for i in range(len(f.records)) if i not in f.saes and i not in f.twin]
    if not f.saes or not others or f.x.shape[1] < FEW:
        return {}
    sides = outside_group(f.x, f.w, f.saes, others)
    words = {1: "above all SAEs", -1: "below all SAEs", 0: None}
    return {i: {"beside": words[int(side)]} for i, side in zip(others, sides, strict=True)}
