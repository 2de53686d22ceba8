"""How often ranks and marks err: `python -m tests.experiments.rank_simulation [TABLES]`.

Writes results/simulations/ranks.md. A simulated leaderboard draws units with replacement from a committed table, all
subjects of a unit together, after each subject's mean has been moved to a value that is then the truth. So the noise is
that of real units and its correlation between subjects that of real SAEs. Each table has bootstrap resamples of its own
(`DRAWS` in place of the product's 1,999), so that one unlucky set of resamples does not colour a whole row.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import numpy as np
from tabulate import tabulate

from saebench_lite.files import write_text
from saebench_lite.stats import bootstrap_t
from saebench_lite.stats.bootstrap_t import FAMILY_LEVEL, bootstrap_p
from saebench_lite.stats.contrasts import FEW_LEVEL, lead_p, level_contrasts
from saebench_lite.stats.paired import benjamini_hochberg, holm
from saebench_lite.stats.ranks import above_control, order, pseudo_means
from tests.experiments.rank_populations import (
    DRAWS,
    POPULATIONS,
    ROOT,
    SCENARIOS,
    TAIL,
    TOPICS,
    Grid,
    Population,
    drawn_table,
    exponential_table,
    fresh_resamples,
    heaviest_unit,
    population,
    text,
    truths,
)

OUT = ROOT / "results" / "simulations" / "ranks.md"
TABLES = 250
SIZES = (12, 30, 113, 300)


def old_separations(x: np.ndarray) -> np.ndarray:
    """Row above column by the former procedure, Holm over the pairs of all subjects. [subjects, subjects]"""
    u = pseudo_means(x, np.ones_like(x))
    first, second = np.triu_indices(len(x), 1)
    d = u[:, first] - u[:, second]
    apart = holm(bootstrap_p(d)) <= 0.05
    out = np.zeros((len(x), len(x)), dtype=bool)
    up = d.mean(0) > 0
    out[np.where(up, first, second)[apart], np.where(up, second, first)[apart]] = True
    return out


def yekutieli(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(above, below) of the pairs that Benjamini and Yekutieli separate, the rival of the fainter mark."""
    u = pseudo_means(x, np.ones_like(x))
    first, second = np.triu_indices(len(x), 1)
    d = u[:, first] - u[:, second]
    apart = benjamini_hochberg(bootstrap_p(d)) * (1 / np.arange(1, d.shape[1] + 1)).sum() <= 0.05
    up = d.mean(0) > 0
    return np.where(up, first, second)[apart], np.where(up, second, first)[apart]


def judged(x: np.ndarray, truth: np.ndarray, saes: int, controls: int) -> dict[str, float]:
    """What one table got wrong and right: {measure: value}, NaN where the table has nothing to say on it.

    Args:
        x: scores. [subjects, units]
        truth: their true means. [subjects]
        saes: subjects that are SAEs, the first rows.
        controls: random controls, the rows after them.
    """
    higher = truth[:, None] > truth[None, :] + 1e-12
    own = higher[:saes, :saes]
    false, true = ~own & ~np.eye(saes, dtype=bool), own
    old = old_separations(x)
    got = order(x[:saes], np.ones((saes, x.shape[1])))
    best = truth[:saes] >= truth[:saes].max() - 1e-12
    control = saes + int(np.argmax(x[saes : saes + controls].mean(1)))
    pairs = np.array([[i, control] for i in range(saes)])
    plus = above_control(x, np.ones_like(x), pairs) <= FAMILY_LEVEL
    over = higher[:saes, control]
    miss = (got.low > 1 + own.sum(0)) | (got.high < saes - own.sum(1))
    first, second = yekutieli(x[:saes])
    likely = int(got.likely.sum())
    return {
        "old FWER": float((old & ~higher).any()),
        "old power": _share(old[:saes, :saes], true),
        "FWER": float((got.above & false).any()),
        "power": _share(got.above, true),
        "FDR": float((got.likely & false).sum() / max(1, likely)),
        "likely power": _share(got.likely, true),
        "BY FDR": float((~own[first, second]).sum() / max(1, len(first))),
        "BY power": float(own[first, second].sum() / own.sum()) if own.any() else np.nan,
        "best size": float(got.may_be_best.sum()),
        "best left out": float((best & ~got.may_be_best).any()),
        "+ false": float((plus & ~over).any()) if not over.all() else np.nan,
        "+ power": float(plus[over].mean()) if over.any() else np.nan,
        "rank misses": float(miss.mean()),
        "rank width": float((got.high - got.low + 1).mean()),
    }


def _share(marks: np.ndarray, where: np.ndarray) -> float:
    return float(marks[where].mean()) if where.any() else np.nan


MEASURES = tuple(judged(np.random.default_rng(0).normal(size=(4, 8)), np.zeros(4), 3, 1))


def cell(p: Population | None, scenario: str, n: int, tables: int) -> list[float]:
    """Means of `judged` over tables, in the order of MEASURES; without a population exponential differences."""
    rows = []
    for k in range(tables):
        draw = np.random.default_rng([k, n])
        fresh_resamples(draw)
        if p is None:
            x, truth, shape = exponential_table(n, draw), np.zeros(13), (12, 1)
        else:
            x, truth, shape = drawn_table(p, scenario, n, draw), truths(p, scenario), (p.saes, p.controls)
        rows.append(list(judged(x, truth, *shape).values()))
    table = np.array(rows)
    known = np.isfinite(table)
    total = np.where(known, table, 0.0).sum(0)
    return [float(t / c) if c else float("nan") for t, c in zip(total, known.sum(0), strict=True)]


def few_units(p: Population, n: int, tables: int) -> list[float]:
    """Share of tables of n units, all subjects equal, in which a sentence below the table claims something false.

    For the group of SAEs against the best control, the contrasts of L0 and those of the architecture.
    """
    wrong = np.zeros(3)
    for k in range(tables):
        draw = np.random.default_rng([k, n, 2])
        fresh_resamples(draw)
        x = drawn_table(p, "all equal", n, draw)
        u = pseudo_means(x, np.ones_like(x))
        control = p.saes + int(np.argmax(u.mean(0)[p.saes : p.saes + p.controls]))
        d = u[:, : p.saes].mean(1) - u[:, control]
        architectures, l0s = [m[0] for m in p.meta], [m[1] for m in p.meta]
        factors = [(l0s, architectures), (architectures, l0s)]
        wrong[0] += lead_p(d) <= 0.05
        for i, (factor, other) in enumerate(factors, 1):
            wrong[i] += any(c.certain for c in level_contrasts(u[:, : p.saes], factor, other))
    return [float(v) for v in wrong / tables]


def page(tables: int) -> str:
    """results/simulations/ranks.md."""
    started = time.process_time()
    rows: Grid = []
    for p in (population(*q) for q in POPULATIONS):
        for scenario in SCENARIOS:
            for n in SIZES:
                rows.append([p.title, scenario, str(n), *map(text, cell(p, scenario, n, tables))])
    for n in SIZES:
        rows.append(["12 SAEs, exponential", "all equal", str(n), *map(text, cell(None, "all equal", n, tables))])
    few: Grid = []
    for p in (population(*q) for q in (*POPULATIONS, TOPICS)):
        few += [[p.title, str(n), *map(text, few_units(p, n, 2 * tables))] for n in (12, 25, 40)]

    def table(heads: Sequence[str], body: Grid) -> str:
        return tabulate(body, heads, tablefmt="github", disable_numparse=True)

    null = [float(r[5]) for r in rows if r[1].startswith("all equal")]
    places = ("population", "truth", "units")
    separations = table([*places, *MEASURES[:8]], [r[:11] for r in rows])
    sets = table([*places, *MEASURES[8:]], [r[:3] + r[11:] for r in rows])
    minutes = (time.process_time() - started) / 60
    error = 100 * np.sqrt(0.05 * 0.95 / tables)
    return PAGE.format(
        tables=tables,
        error=f"{error:.1f}",
        draws=DRAWS,
        family=f"{100 * FAMILY_LEVEL:.0f} %",
        few_level=f"{FEW_LEVEL:g}",
        level=f"{FAMILY_LEVEL:g}",
        null=f"{np.mean(null):.3f} on average, from {min(null):.3f} to {max(null):.3f}",
        separations=separations,
        sets=sets,
        few=table(("population", "units", "group", "L0", "architecture"), few),
        heaviest=f"{100 * heaviest_unit(population(*TOPICS)):.0f}",
        few_tables=2 * tables,
        few_error=f"{error / np.sqrt(2):.1f}",
        minutes=f"{minutes:.0f}",
    )


PAGE = """# How often ranks and marks err

Printed by `python -m tests.experiments.rank_simulation {tables}` in {minutes} minutes of one core.

Simulated leaderboards: units drawn with replacement from a committed table, all subjects of a unit together, each
subject's mean moved to the truth of the row. "all equal": all subjects have the same mean, with the residuals as they
are (skewed) or each unit's with a random sign (symmetric); "threes equal": SAEs that are neighbours by mean, in threes,
have the mean of the three; "as observed": the means of the table are the truth. "exponential": twelve SAEs and a
control, every other one with the mirrored exponential distribution, so that half of all differences have a skewness of
1.4. {tables} tables a row (a rate of 5 % has a Monte Carlo standard error of {error} %), {draws} bootstrap resamples a
table. From 30 units the leaderboard prints ranks; below, of these only the + mark. Intervals: coverage.md.

## Separated pairs of SAEs

old: Holm over the pairs of all subjects, as up to version 0.1 (FWER: any false separation of any two subjects). FWER,
power: Romano-Wolf step-down over the pairs of SAEs (any false separation; share of truly different pairs separated).
FDR, likely power: the fainter mark, Benjamini-Hochberg where Romano-Wolf separates at least one pair; BY:
Benjamini-Yekutieli without that condition, its rival. Romano-Wolf is asked at a nominal {family}, so that heavy-tailed
units keep within 5 %. FWER over the rows in which all are equal: {null}.

{separations}

## The best, the control, the ranks

best size, best left out: SAEs that are "tied with best", and tables in which one of the truly best is not among them;
"+ false", "+ power": tables with a false +, and share of SAEs truly above their control (the best random control of
each simulated table) that have one; rank misses, rank width: share of rows whose rank interval does not hold all ranks
that the row may have in truth, and mean number of ranks in an interval.

{sets}

## Sentences on groups and designs

Share of tables in which all are equal and a sentence claims a difference: the group of SAEs above the best random
control (one-sided p below .05), any two levels of L0, any two architectures (adjusted p below {few_level}). From 30
units on these contrasts are told below {level}. {few_tables} tables (standard error {few_error} %).
In the last population one of twelve topics has up to {heaviest} % of the variance of the difference of two
architectures: twelve units drawn from it miss that topic in a third of the tables, and nothing in those tables tells.

{few}
"""


if __name__ == "__main__":
    bootstrap_t.DRAWS, bootstrap_t.TAIL = DRAWS, TAIL
    write_text(OUT, page(int(sys.argv[1]) if len(sys.argv) > 1 else TABLES))
