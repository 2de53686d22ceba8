"""Coverage of intervals when units are drawn anew: `python -m tests.experiments.rank_coverage`.

Writes results/simulations/coverage.md: every metric of the committed records for which tables print an interval over
units, the differences and calibrated scores made of them, and what intervals over fewer units would cover.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from tabulate import tabulate

from saebench_lite.files import write_text
from saebench_lite.records.arrays import unit_scores
from saebench_lite.records.record import read_all
from saebench_lite.records.selection import newest_by_subject
from saebench_lite.stats.intervals import BOOTSTRAP_FROM, SAME, SHOWN_FROM, collapse, interval, too_alike
from saebench_lite.stats.ranks import calibrated
from tests.experiments.rank_populations import (
    POPULATIONS,
    ROOT,
    Grid,
    Population,
    fresh_resamples,
    population,
    text,
)

OUT = ROOT / "results" / "simulations" / "coverage.md"
CASES = 4000
"Intervals that a row should be about."
MOST = 16
"Times as many draws, at most, where few of them have an interval."
SPREAD = 0.05
"Standard deviations by which a drawn value is moved, so that a unit drawn twice is not two units that are equal."

Scores = list[tuple[np.ndarray, np.ndarray]]
"Values and weights [units] of subjects."


class Coverage(NamedTuple):
    """How often an interval holds the value of the population that units are drawn from."""

    what: str
    subjects: int
    units: str
    covered: float
    "Share of the intervals that are made; NaN without any."
    withheld: float
    "Share of the draws in which none is made."
    printed: int
    "Intervals that are made: those that tables print, from `SHOWN_FROM` units on."


def committed() -> dict[tuple[str, str], Scores]:
    """By task and metric shown unasked, the scores of every subject of the committed records, of any folder."""
    out: dict[tuple[str, str], Scores] = {}
    for folder in sorted((ROOT / "results").rglob("records")):
        records, _ = read_all(folder.parent)
        for task in sorted({r.task.name for r in records}):
            own = newest_by_subject([r for r in records if r.task.name == task and r.status == "ok"])
            for record in own.values():
                for metric in (m for m in record.task.shown if record.scores.get(m) and record.scores[m].n > 1):
                    named = unit_scores(record, metric)
                    if named is not None:
                        x, w = collapse(*named.scores)
                        known = np.isfinite(x)
                        out.setdefault((task, metric), []).append((x[known], w[known]))
    return out


def covered(what: str, scores: Scores) -> Coverage:
    """Coverage of scores, over subjects and draws of as many units as each has."""
    hits = shown = cases = 0
    for k in range(max(1, MOST * CASES // len(scores))):
        if shown >= CASES:
            break
        for i, (x, w) in enumerate(scores):
            draw = np.random.default_rng([k, i, len(scores)])
            fresh_resamples(draw)
            rows = draw.integers(len(x), size=len(x))
            y, truth = smoothed(x, rows, draw), (w * x).sum() / w.sum()
            cases += 1
            if not too_alike(y):
                low, high = interval(y, w[rows])
                slack = 1e-9 * abs(truth)
                hits, shown = hits + (low - slack <= truth <= high + slack), shown + 1
    sizes = sorted({len(x) for x, _ in scores})
    units = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    return Coverage(what, len(scores), units, hits / shown if shown else float("nan"), 1 - shown / cases, shown)


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
    return Coverage(f"difference of two SAEs, {p.title}", p.saes, str(n), hits / cases, 0.0, cases)


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
            if got is not None:
                raw, zero, one = three.mean(1)
                hits, shown = hits + (got[1] <= (raw - zero) / (one - zero) <= got[2]), shown + 1
    cases = tables * p.saes
    share = hits / shown if shown else float("nan")
    return Coverage(f"calibrated, {p.title}", p.saes, str(n), share, 1 - shown / cases, shown)


def _of_metrics(known: dict[tuple[str, str], Scores], wanted: Callable[[int], bool]) -> list[Coverage]:
    """A row for each metric, of the subjects whose number of units is wanted."""
    rows = []
    for (task, metric), scores in sorted(known.items()):
        own = [(x, w) for x, w in scores if len(x) > 1 and wanted(len(x))]
        if own:
            rows.append(covered(f"{task} {metric}", own))
    return rows


def page() -> str:
    """results/simulations/coverage.md."""
    started = time.process_time()
    known = committed()
    many = _of_metrics(known, lambda n: n >= SHOWN_FROM)
    some = _of_metrics(known, lambda n: BOOTSTRAP_FROM <= n < SHOWN_FROM)
    few = _of_metrics(known, lambda n: n < BOOTSTRAP_FROM)
    made = []
    for p in (population(*q) for q in POPULATIONS):
        made += [covered_differences(p), *(covered_scale(p, n) for n in (SHOWN_FROM, 30, 113))]
    spans = [[c.covered for c in rows if c.printed] for rows in ((*many, *made), some, few)]
    least, most = ([f"{100 * end(shares):.1f}" for shares in spans] for end in (min, max))
    minutes = (time.process_time() - started) / 60
    return PAGE.format(
        minutes=f"{minutes:.0f}",
        cases=CASES,
        error=f"{100 * np.sqrt(0.05 * 0.95 / CASES):.1f}",
        least=least,
        most=most,
        enough=SHOWN_FROM,
        many=_table(many, PRINTED),
        made=_table(made, PRINTED),
        bootstrap=BOOTSTRAP_FROM,
        some=_table(some, MADE),
        few=_table(few, MADE),
    )


PRINTED = ("covers", "none printed", "printed")
MADE = ("would cover", "too alike", "intervals")


def _table(rows: Sequence[Coverage], heads: tuple[str, str, str]) -> str:
    body: Grid = [[c.what, str(c.subjects), c.units, text(c.covered), text(c.withheld), str(c.printed)] for c in rows]
    return tabulate(body, ("interval", "subjects", "units", *heads), tablefmt="github", disable_numparse=True)


PAGE = """# How often intervals hold what they should

Printed by `python -m tests.experiments.rank_coverage` in {minutes} minutes of one core.

Units drawn with replacement from a subject's own units, as many as it has (for calibrated scores, as many as the row
says); truth is the score of those units. Every subject of every committed table is a population: the rows of a metric
are about all of them in turn. Drawn scores are moved by a twentieth of their standard deviation, so that a unit drawn
twice is not two equal units; values that several units share are not. "none printed": too many equal units among too
few, or a scale whose ends are closer than four standard errors. "covers" is of those printed, about {cases} a row; a
share of 95 % has a standard error of {error} %. Intervals over units are printed from {enough} units on; these rows
cover from {least[0]} to {most[0]} %.

{many}

{made}

## Fewer than {enough} units

No interval over so few units is printed, and tables make no scale or mark of them: they are a small population to draw
from, of which one or two may hold most of the spread, and intervals hold what they should for some metrics alone.
Bootstrap-t, from {bootstrap} units on, would cover from {least[1]} to {most[1]} %:

{some}

Student's t, which takes its place below, from {least[2]} to {most[2]} %:

{few}
"""


if __name__ == "__main__":
    write_text(OUT, page())
