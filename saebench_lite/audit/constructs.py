"""Does a metric follow what it claims to measure, and nothing else? Pure functions of arrays.

A series is one fault at rising doses. Where the true quantity of the metric's construct moves along a series, the
metric must order the dictionaries as the quantity does; where it does not move, the metric must not move either. The
uncertainty is that over the metric's units, resampled with replacement, the same ones in all dictionaries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from saebench_lite.records.metric import Better
from saebench_lite.records.verdicts import Verdict
from saebench_lite.stats.intervals import resample_counts
from saebench_lite.stats.rank_correlation import spearman

DRAWS = 400
MOVES = 0.1
"A quantity moves along a series if it covers this share of its widest range over all series."
STILL = 0.02
"It does not move below this share; in between nothing is asked."
RHO = 0.9
"Rank correlation asked where the quantity moves."
FLAT = 0.1
"Largest change allowed where it does not, as a share of the metric's widest range where it does."
LEVEL = 0.95


class Interval(NamedTuple):
    """A figure with its interval over units; the ends are the figure itself where there is one unit."""

    value: float
    low: float
    high: float


class UnitTable(NamedTuple):
    """A metric of all dictionaries."""

    values: np.ndarray
    "[dictionaries, units], higher is better where the metric has a direction; NaN where missing"
    weights: np.ndarray
    "[dictionaries, units]"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One metric along one series."""

    series: str
    asked: Literal["follow", "flat", "nothing"]
    "Follow the quantity, stay flat, or neither because the quantity hardly moves or cannot be told."
    truth: float
    "Change of the quantity from dose 0 to the last."
    change: Interval | None
    "Change of the metric from dose 0 to the last; None where it has no value."
    rho: Interval | None
    "Spearman correlation of metric and quantity along the series; None unless asked to follow."
    verdict: Verdict | None
    "None where nothing is asked."


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """One metric along all series, by the quantity of its construct that it misses least, then follows best."""

    quantity: str
    overall: float
    "Spearman correlation with the quantity over all dictionaries."
    cells: tuple[Cell, ...]
    own: Verdict
    "Over the series in which the quantity moves: does the metric follow?"
    others: Verdict
    "Over those in which it does not: is the metric flat?"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A metric and what came out."""

    task: str
    metric: str
    construct: str
    headline: bool
    shown: bool
    "Whether a leaderboard shows it unasked."
    figures: list[float]
    "Of each dictionary, turned so that higher is better."
    judgement: Judgement


def judge(
    table: UnitTable, better: Better, series: Mapping[str, Sequence[int]], truths: Mapping[str, np.ndarray]
) -> Judgement:
    """The judgement of one metric.

    Args:
        table: its values.
        better: its direction; the sign of the correlation is not asked of `neither`.
        series: dictionaries along each series, dose 0 first.
        truths: quantities of its construct by name, higher is better. [dictionaries] each
    """
    figures = resampled(table)
    by_quantity = [_judged_by(name, truth, figures, better, series) for name, truth in truths.items()]
    return min(by_quantity, key=lambda j: (sum(c.verdict == "misses" for c in j.cells), -np.nan_to_num(j.overall)))


def _judged_by(
    quantity: str, truth: np.ndarray, figures: np.ndarray, better: Better, series: Mapping[str, Sequence[int]]
) -> Judgement:
    """The judgement by one quantity [dictionaries] of figures [1 + draws, dictionaries]."""
    rho = spearman_known(figures[0], truth)
    sign = -1.0 if better == "neither" and rho < 0 else 1.0
    asked = what_is_asked({name: truth[list(at)] for name, at in series.items()})
    own = [
        np.nanmax(figures[0][list(series[n])]) - np.nanmin(figures[0][list(series[n])])
        for n, what in asked.items()
        if what == "follow" and np.isfinite(figures[0][list(series[n])]).any()
    ]
    span = max(own, default=0.0)
    cells = tuple(_cell(n, asked[n], sign * figures[:, list(at)], truth[list(at)], span) for n, at in series.items())
    return Judgement(
        quantity=quantity,
        overall=sign * rho,
        cells=cells,
        own=together([c.verdict for c in cells if c.asked == "follow"]),
        others=together([c.verdict for c in cells if c.asked == "flat"]),
    )


def resampled(table: UnitTable) -> np.ndarray:
    """Weighted means over units [1 + draws, dictionaries]: the figures, then those of resampled units.

    Units missing in one dictionary are missing in all; there are no draws for a single unit. Nine digits,
    as in records, so that figures equal but for the order of summation are ties.
    """
    known = np.isfinite(table.values)
    scored = known.any(1)
    common = known[scored].all(0) if scored.any() else np.zeros(known.shape[1], dtype=bool)
    values = np.where(known, table.values, 0.0)[:, common]
    weights = np.where(known, table.weights, 0.0)[:, common]
    counts = np.ones((1, common.sum()))
    if common.sum() > 1:
        counts = np.concatenate([counts, resample_counts(int(common.sum()), DRAWS)])
    total = counts @ weights.T
    means = np.divide(counts @ (values * weights).T, total, out=np.full(total.shape, np.nan), where=total > 0)
    size = float(np.nanmax(np.abs(means))) if np.isfinite(means).any() else 0.0
    return np.round(means / size, 9) * size if size else means


def what_is_asked(truth: Mapping[str, np.ndarray]) -> dict[str, Literal["follow", "flat", "nothing"]]:
    """What a metric is asked along each series, by how far the quantity moves there. Series -> [doses]"""
    ranges = {n: float(np.ptp(t)) if np.isfinite(t).all() else float("nan") for n, t in truth.items()}
    widest = max((r for r in ranges.values() if r == r), default=0.0)
    out: dict[str, Literal["follow", "flat", "nothing"]] = {}
    for name, size in ranges.items():
        share = size / widest if widest > 0 else 0.0
        out[name] = "follow" if share >= MOVES else "flat" if share <= STILL else "nothing"
    return out


def _cell(
    name: str, asked: Literal["follow", "flat", "nothing"], figures: np.ndarray, truth: np.ndarray, span: float
) -> Cell:
    """One series: figures [1 + draws, doses], truth [doses]; span is the metric's widest range where it must follow."""
    moved = float(truth[-1] - truth[0])
    if not np.isfinite(figures[0]).all():
        return Cell(series=name, asked=asked, truth=moved, change=None, rho=None, verdict=None)
    change = _interval(figures[:, -1] - figures[:, 0])
    if asked == "follow":
        rho = _interval(row_spearman(figures, truth))
        verdict: Verdict = "passes" if rho.low >= RHO else "misses" if rho.high < RHO else "open"
        return Cell(series=name, asked=asked, truth=moved, change=change, rho=rho, verdict=verdict)
    bar = FLAT * span
    inside, outside = max(-change.low, change.high) <= bar, change.low > bar or change.high < -bar
    verdict = "passes" if inside else "misses" if outside else "open"
    return Cell(
        series=name,
        asked=asked,
        truth=moved,
        change=change,
        rho=None,
        verdict=verdict if asked == "flat" else None,
    )


def row_spearman(rows: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Spearman correlation of each of the rows [n, m] with y [m], average ranks for ties; 0 for a constant row."""
    from scipy.stats import rankdata

    x, y = rankdata(rows, axis=1), rankdata(y)
    x, y = x - x.mean(1, keepdims=True), y - y.mean()
    size = np.sqrt((x * x).sum(1) * (y * y).sum())
    return np.divide(x @ y, size, out=np.zeros(len(x)), where=size > 0)


def _interval(draws: np.ndarray) -> Interval:
    """The first value with the quantiles of the others."""
    if len(draws) == 1:
        return Interval(float(draws[0]), float(draws[0]), float(draws[0]))
    low, high = np.quantile(draws[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(draws[0]), float(low), float(high))


def spearman_known(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman correlation over the places where both are known."""
    ok = np.isfinite(x) & np.isfinite(y)
    return spearman(x[ok], y[ok])


def together(verdicts: Sequence[Verdict | None]) -> Verdict:
    """Misses if one does, passes if all do and there is one, else open."""
    if "misses" in verdicts:
        return "misses"
    return "passes" if verdicts and all(v == "passes" for v in verdicts) else "open"
