"""How often ranks, marks and intervals err: `python -m tests.experiments.rank_simulation [TABLES]`.

Writes results/simulations/ranks.md. A simulated leaderboard draws units with replacement from a committed table, all
subjects of a unit together, after each subject's mean has been moved to a value that is then the truth. So the noise is
that of real units and its correlation between subjects that of real SAEs. Each table has bootstrap resamples of its own
(`DRAWS` in place of the product's 1,999), so that one unlucky set of resamples does not colour a whole row.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tabulate import tabulate

from saebench_lite.files import write_text
from saebench_lite.records.arrays import stack, unit_scores
from saebench_lite.records.record import Record, read_all
from saebench_lite.records.selection import newest_by_subject
from saebench_lite.stats import bootstrap_t, intervals
from saebench_lite.stats.bootstrap_t import bootstrap_p, p_values, studentised
from saebench_lite.stats.contrasts import level_contrasts
from saebench_lite.stats.intervals import collapse, interval, too_alike
from saebench_lite.stats.paired import holm
from saebench_lite.stats.ranks import above_control, order, pseudo_means

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "results" / "simulations" / "ranks.md"
TABLES, DRAWS, TAIL = 250, 599, 6
SIZES = (12, 30, 113, 300)
POPULATIONS = (
    ("pico-sae-probes", "sparse_probing", "rare_f1_last"),
    ("pico", "sparse_probing", "rare_f1_mean"),
    ("minilm", "sparse_probing", "rare_f1_mean"),
)
SCENARIOS = ("all equal", "all equal, symmetric", "threes equal", "as observed")
Grid = list[list[str]]


class Population(NamedTuple):
    """Scores of a committed table, SAEs first; scores of clones of SAEs are left out."""

    title: str
    x: np.ndarray
    "[subjects, units]"
    saes: int
    controls: int
    "Random controls, the rows after the SAEs."
    meta: list[tuple[str, str]]
    "Architecture and L0 of the SAEs."


def records_of(folder: str, task: str) -> list[Record]:
    """The newest records of a task under results/FOLDER, by subject."""
    records, _ = read_all(ROOT / "results" / folder)
    own = [r for r in records if r.task.name == task and r.status == "ok" and not r.site.model.startswith("random:")]
    return list(newest_by_subject(own).values())


def population(folder: str, task: str, metric: str) -> Population:
    """The table of a metric."""
    records = records_of(folder, task)
    groups = [
        [r for r in records if r.subject.kind == "sae"],
        [r for r in records if r.subject.name.split(" of ")[0] in ("random_topk", "matched_random")],
    ]
    groups.append([r for r in records if r.subject.kind in ("baseline", "dictionary baseline")])
    stacked = stack([r for g in groups for r in g], metric)
    assert stacked is not None
    recipes = [r.subject.meta["recipe"] for r in groups[0]]
    meta = [(str(m["architecture"]), str(m["l0"])) for m in recipes if isinstance(m, dict)]
    title = f"{folder} {metric}, {len(groups[0])} SAEs, {stacked[0].shape[1]} units"
    return Population(title, stacked[0], len(groups[0]), len(groups[1]), meta)


def truths(p: Population, scenario: str) -> np.ndarray:
    """True means of all subjects. [subjects]"""
    mean = p.x.mean(1)
    if scenario.startswith("all equal"):
        return np.zeros(len(mean))
    if scenario == "threes equal":
        by_mean = np.argsort(mean[: p.saes])
        for three in np.split(by_mean, range(3, p.saes, 3)):
            mean[three] = mean[three].mean()
    return mean


def drawn_table(p: Population, scenario: str, n: int, draw: np.random.Generator) -> np.ndarray:
    """Scores of n drawn units. [subjects, n]"""
    residual = p.x - p.x.mean(1, keepdims=True)
    z = residual[:, draw.integers(p.x.shape[1], size=n)]
    return truths(p, scenario)[:, None] + (z * draw.choice([-1.0, 1.0], size=n) if "symmetric" in scenario else z)


def exponential_table(n: int, draw: np.random.Generator) -> np.ndarray:
    """Twelve equal SAEs and a control [13, n]; every other one has the mirrored distribution, so differences are skewed."""
    side = np.where(np.arange(13) % 2, -1.0, 1.0)[:, None]
    return side * (draw.exponential(size=(13, n)) - 1)


def fresh_resamples(draw: np.random.Generator) -> None:
    """New bootstrap resamples for all that follows."""
    known: dict[int, np.ndarray] = {}

    def counts(n: int, draws: int, seed: int = 0) -> np.ndarray:
        if n not in known:
            flat = draw.integers(n, size=(DRAWS, n)) + n * np.arange(DRAWS)[:, None]
            known[n] = np.bincount(flat.ravel(), minlength=DRAWS * n).reshape(DRAWS, n).astype(np.float64)
        return known[n]

    bootstrap_t.resample_counts = intervals.resample_counts = counts


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


def yekutieli(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(first, second, row-above marks) of pairs by Benjamini and Yekutieli, the rival of the fainter mark."""
    u = pseudo_means(x, np.ones_like(x))
    first, second = np.triu_indices(len(x), 1)
    d = u[:, first] - u[:, second]
    p = np.sort(p_values(studentised(d)))
    m = len(p)
    bar = 0.05 * np.arange(1, m + 1) / m / (1 / np.arange(1, m + 1)).sum()
    cut = p[p <= bar].max(initial=0.0)
    apart = p_values(studentised(d)) <= cut
    up = d.mean(0) > 0
    return np.where(up, first, second)[apart], np.where(up, second, first)[apart], apart


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
    plus = above_control(x, np.ones_like(x), pairs) <= 0.05
    over = higher[:saes, control]
    miss = (got.low > 1 + own.sum(0)) | (got.high < saes - own.sum(1))
    first, second, _ = yekutieli(x[:saes])
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


if __name__ == "__main__":
    bootstrap_t.DRAWS, bootstrap_t.TAIL = DRAWS, TAIL
    T = int(sys.argv[1])
    for p in [*(population(*q) for q in POPULATIONS), None]:
        print(p.title if p else "exp")
        print(" " * 30, *(f"{m[:8]:>8}" for m in MEASURES))
        for s in SCENARIOS if p else ["exp"]:
            for n in SIZES:
                t0 = time.time()
                print(f"{s:25} {n:4}", *(f"{v:8.3f}" for v in cell(p, s, n, T)), f"{time.time() - t0:.1f}", flush=True)
