"""Spearman's rank correlation, without scipy: what reads records alone must not load it."""

from __future__ import annotations

import numpy as np


def ranks(x: np.ndarray) -> np.ndarray:
    """Ranks of x [n] from 1 on, ties sharing the mean of theirs. [n] float64"""
    _, place, ties = np.unique(x, return_inverse=True, return_counts=True)
    return (ties.cumsum() - (ties - 1) / 2)[place]


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's rank correlation, average ranks for ties; NaN where one is constant or there are fewer than three."""
    if len(x) < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(ranks(x), ranks(y))[0, 1])
