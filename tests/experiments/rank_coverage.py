"""Coverage of intervals when units are drawn anew from those of committed records."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from saebench_lite.records.arrays import unit_scores
from saebench_lite.records.record import Record
from saebench_lite.stats.intervals import SAME, collapse, interval, too_alike
from saebench_lite.stats.ranks import calibrated
from tests.experiments.rank_populations import (
    POPULATIONS,
    Grid,
    Population,
    fresh_resamples,
    population,
    records_of,
    text,
)

CASES = 4000
"Intervals that a row should be about."
SPREAD = 0.05
"Standard deviations by which a drawn value is moved, so that a unit drawn twice is not two units that are equal."
MOST = 16
"Times as many draws, at most, where few of them have an interval."

SCORED = (
    ("pico", "sparse_probing"),
    ("pico", "concept_detection"),
    ("pico", "absorption"),
    ("pico", "ce_delta"),
    ("pico", "reconstruction"),
    ("smollm2", "sparse_probing"),
    ("smollm2", "concept_detection"),
    ("smollm2", "absorption"),
    ("smollm2", "ce_delta"),
    ("smollm2", "reconstruction"),
    ("smollm2-sae-probes", "sparse_probing"),
    ("smollm2-axbench", "concept_detection"),
)


class Coverage(NamedTuple):
    """How often an interval holds the value of the population that units are drawn from."""

    what: str
    units: int
    covered: float
    "Share of the intervals that are printed; NaN without any."
    withheld: float
    "Share of the draws in which none is printed."
    printed: int


def covered(records: Sequence[Record], metric: str, folder: str) -> Coverage:
    """Coverage of the score of a metric, over SAEs and draws of as many units as each has."""
    saes = [collapse(*named.scores) for r in records if r.subject.kind == "sae" if (named := unit_scores(r, metric))]
    hits = shown = cases = units = 0
    for k in range(MOST * CASES // len(saes)):
        if shown >= CASES - len(saes):
            break
        for i, (x, w) in enumerate(saes):
            x, w = x[np.isfinite(x)], w[np.isfinite(x)]
            truth, units = (w * x).sum() / w.sum(), len(x)
            draw = np.random.default_rng([k, i, len(saes)])
            fresh_resamples(draw)
            rows = draw.integers(units, size=units)
            y = smoothed(x, rows, draw)
            cases += 1
            if not too_alike(y):
                low, high = interval(y, w[rows])
                slack = 1e-9 * abs(truth)
                hits, shown = hits + (low - slack <= truth <= high + slack), shown + 1
    return Coverage(f"{folder} {metric}", units, hits / shown if shown else float("nan"), 1 - shown / cases, shown)


def smoothed(x: np.ndarray, rows: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Values x [units] of the drawn rows [n], each moved by `SPREAD` but for those that several units share. [n]

    Without it twelve units drawn from twelve are too alike for an interval in a sixth of the draws, the unluckiest
    ones, which twelve other units of the same kind would not be. Source: Silverman & Young 1987 (Biometrika 74).
    """
    alike = np.abs(x[:, None] - x) <= SAME * np.maximum(np.abs(x[:, None]), np.abs(x))
    moved = x[rows] + SPREAD * x.std() * draw.standard_normal(len(rows))
    return np.where((alike.sum(1) > 1)[rows], x[rows], moved)


def covered_differences(p: Population) -> Coverage:
    """Coverage of the difference of two SAEs, as `compare` prints it; neighbours by mean."""
    tables = CASES // (p.saes - 1)
    by_mean = np.argsort(p.x[: p.saes].mean(1))
    hits, n = 0, p.x.shape[1]
    for k in range(tables):
        for a, b in itertools.pairwise(by_mean):
            draw = np.random.default_rng([k, n, a])
            fresh_resamples(draw)
            d = (p.x[a] - p.x[b])[draw.integers(n, size=n)]
            low, high = interval(d, np.ones(n), symmetric=True)
            hits += low <= (p.x[a] - p.x[b]).mean() <= high
    cases = tables * (p.saes - 1)
    return Coverage(f"difference of two SAEs, {p.title}", n, hits / cases, 0.0, cases)


def covered_scale(p: Population, n: int) -> Coverage:
    """Coverage of the calibrated score of SAEs between the best control and the best baseline of the population."""
    tables = CASES // p.saes
    control = p.saes + int(np.argmax(p.x[p.saes : p.saes + p.controls].mean(1)))
    ceiling = int(np.argmax(p.x.mean(1)))
    hits = shown = 0
    for k in range(tables):
        for i in range(p.saes):
            draw = np.random.default_rng([k, n, i])
            fresh_resamples(draw)
            rows = draw.integers(p.x.shape[1], size=n)
            three = p.x[[i, control, ceiling]]
            got = calibrated(three[:, rows], np.ones((3, n)))
            if got is not None and got[1] is not None and got[2] is not None:
                raw, zero, one = three.mean(1)
                hits, shown = hits + (got[1] <= (raw - zero) / (one - zero) <= got[2]), shown + 1
    cases = tables * p.saes
    share = hits / shown if shown else float("nan")
    return Coverage(f"calibrated, {p.title}", n, share, 1 - shown / cases, shown)


def coverages() -> Grid:
    """Rows of the coverage table."""
    out = []
    for folder, task in SCORED:
        records = records_of(folder, task)
        scored = [m for m in records[0].task.shown if any(m in r.scores for r in records)]
        out += [covered(records, m, f"{folder} {task}") for m in scored]
    for p in (population(*q) for q in POPULATIONS):
        out += [covered_differences(p)]
        out += [covered_scale(p, n) for n in (12, 30, 113)]
    return [[c.what, str(c.units), text(c.covered), text(c.withheld), str(c.printed)] for c in out]
