"""Populations of units, and leaderboards drawn from them."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from saebench_lite.records.arrays import stack
from saebench_lite.records.record import Record, read_all
from saebench_lite.records.selection import newest_by_subject
from saebench_lite.stats import bootstrap_t, intervals

ROOT = Path(__file__).resolve().parents[2]


DRAWS = 599


TAIL = 6


POPULATIONS = (
    ("smollm2-sae-probes", "sparse_probing", "average_precision_max"),
    ("pico", "concept_detection", "average_precision"),
    ("smollm2", "concept_detection", "average_precision"),
)
"What most rows draw from: over 100 units each."


TOPICS = ("pico", "sparse_probing", "average_precision_max")
"Twelve units, of which one has most of the variance of some differences: what few units can hide."


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


def heaviest_unit(p: Population) -> float:
    """Largest share that one unit has of the variance of the difference of two architectures' means."""
    names = sorted({architecture for architecture, _ in p.meta})
    rows = [[i for i, (architecture, _) in enumerate(p.meta) if architecture == name] for name in names]
    means = [p.x[own].mean(0) for own in rows]
    squares = [(a - b - (a - b).mean()) ** 2 for a, b in itertools.combinations(means, 2)]
    return max(float(q.max() / q.sum()) for q in squares)


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
    """Twelve equal SAEs and a control [13, n]; every other one has the mirrored distribution of the rest."""
    side = np.where(np.arange(13) % 2, -1.0, 1.0)[:, None]
    return side * (draw.exponential(size=(13, n)) - 1)


def fresh_resamples(draw: np.random.Generator) -> None:
    """New bootstrap resamples for all that follows."""
    known: dict[tuple[int, int], np.ndarray] = {}

    def counts(n: int, draws: int, seed: int = 0) -> np.ndarray:
        if (n, draws) not in known:
            flat = draw.integers(n, size=(draws, n)) + n * np.arange(draws)[:, None]
            known[n, draws] = np.bincount(flat.ravel(), minlength=draws * n).reshape(draws, n).astype(np.float64)
        return known[n, draws]

    bootstrap_t.resample_counts = intervals.resample_counts = counts


def text(value: float) -> str:
    """Three decimals, a dash for NaN."""
    return "–" if value != value else f"{value:.3f}"
