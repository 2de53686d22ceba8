"""Rank correlations over subjects, and their bootstrap. Pure functions of arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from saebench_lite.stats.seeds import rng

DRAWS = 1000


def mean_rank(table: np.ndarray) -> np.ndarray:
    """Mean over rows of each column's ranks: table [truths, subjects] -> [subjects]."""
    from scipy.stats import rankdata

    return rankdata(table, axis=1).mean(0)


def bootstrap_spearman(xs: Sequence[np.ndarray], y: np.ndarray, seed: str, draws: int = DRAWS) -> np.ndarray:
    """Correlations [draws, len(xs)] of each of xs with y over subjects drawn with replacement, the same in all xs.

    0 in a draw where x is constant and y is not; NaN where y is.

    Args:
        xs: scores [subjects] each.
        y: what they are correlated with. [subjects]
        seed: names the draw.
        draws: bootstrap resamples.
    """
    drawn = rng("audit bootstrap", seed).integers(len(y), size=(draws, len(y)))
    truth = _centred_ranks(y[drawn])
    return np.stack([_row_correlations(_centred_ranks(np.asarray(x)[drawn]), truth) for x in xs], axis=1)


def _centred_ranks(rows: np.ndarray) -> np.ndarray:
    """Average ranks within each row, less their mean. [draws, n]"""
    from scipy.stats import rankdata

    return rankdata(rows, axis=1) - (rows.shape[1] + 1) / 2


def _row_correlations(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Correlation of rows of x with those of y [draws, n] -> [draws]; 0 where x alone is constant, NaN where y is."""
    size = np.sqrt((x * x).sum(1) * (y * y).sum(1))
    value = np.divide((x * y).sum(1), size, out=np.zeros(len(x)), where=size > 0)
    value[(y == 0).all(1)] = np.nan
    return value
