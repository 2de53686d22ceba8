"""One-to-one matching of the latents of two SAEs, and what it would give by chance. Pure functions of numpy arrays.

Sources: matched cosines over training seeds, Paulo & Belrose (arXiv:2501.16615), signed; by absolute value PW-MCC, Song
et al. (arXiv:2505.20254). Codes are not negative, so a direction and its opposite are two features: cosines are signed
unless said otherwise.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array


def best_matching(similarity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns [min(m, n)] of the one-to-one matching with the largest sum (Hungarian method).

    similarity [m, n]; rows ascend.
    """
    rows, columns = linear_sum_assignment(similarity, maximize=True)
    return rows, columns


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows [m, d] over their norms, float32; zero rows stay zero."""
    norms = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return (rows / np.where(norms > 0, norms, 1.0)).astype(np.float32)


def correlations(f: csr_array, g: csr_array) -> np.ndarray:
    """Pearson's r [m, n] of the codes of two SAEs over the same tokens; 0 for a latent that does not vary.

    Args:
        f: codes of the first. [t, m]
        g: codes of the second. [t, n]
    """
    t = len(f.indptr) - 1
    first, second = (np.asarray(h.sum(0)).ravel() / t for h in (f, g))
    product = (f.T @ g).toarray() / t - np.outer(first, second)
    squares = (np.asarray(h.multiply(h).sum(0)).ravel() / t for h in (f, g))
    sd = [np.sqrt(np.maximum(q - mean**2, 0.0)) for q, mean in zip(squares, (first, second), strict=True)]
    size = np.outer(*sd)
    return np.divide(product, size, out=np.zeros_like(product), where=size > 0).astype(np.float32)


def alike(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Random unit rows [m, d] from the normal distribution with the mean and covariance of the unit rows [m, d] given.

    A stricter null than rows of any direction: it keeps the dimensions that a dictionary prefers.
    """
    u = unit(rows).astype(np.float64)
    mean = u.mean(0)
    size, axes = np.linalg.eigh((u - mean).T @ (u - mean) / len(u))
    return unit(mean + rng.standard_normal(u.shape) @ (axes * np.sqrt(np.maximum(size, 0.0))).T)


def above_null(value: float, null: float) -> float:
    """(value - null) / (1 - null): 0 for chance, 1 for perfection."""
    return (value - null) / (1 - null)


def subspace_overlap(a: np.ndarray, b: np.ndarray, r: int) -> float:
    """Mean squared cosine of the principal angles between the r leading directions of two sets of rows.

    Leading by the second moment of unit rows; r / d for random subspaces of d dimensions. NaN where a set has fewer
    than r rows.

    Args:
        a: rows. [m, d]
        b: rows. [n, d]
        r: dimensions of each subspace.
    """
    if min(len(a), len(b)) < r:
        return float("nan")
    first, second = (np.linalg.eigh((u := unit(rows).astype(np.float64)).T @ u)[1][:, -r:] for rows in (a, b))
    return float(((first.T @ second) ** 2).sum() / r)


class SharedStart(NamedTuple):
    """How much more alike rows of equal index are than rows of any two indices."""

    excess: float
    "Mean cosine at equal index minus that over all pairs."
    z: float
    "The excess over its standard error for unrelated orders of the rows."


def shared_start(cosines: np.ndarray) -> SharedStart:
    """Signs of a common initialisation in the cosines [m, n] of two dictionaries' rows."""
    own = cosines.diagonal().astype(np.float64)
    excess = float(own.mean() - cosines.mean(dtype=np.float64))
    error = float(cosines.std(dtype=np.float64)) / len(own) ** 0.5
    return SharedStart(excess, excess / error if error > 0 else 0.0)


def jackknife(pairs: dict[tuple[int, int], float], runs: int) -> float | None:
    """Standard error over runs of the mean of a figure over all pairs of runs; None below three runs.

    Pairs share runs, so they are no independent replicates: whole runs are left out one by one (Efron & Tibshirani
    1993, chapter 11).

    Args:
        pairs: figure of each pair of runs.
        runs: how many there are.
    """
    if runs < 3:
        return None
    without = np.array([np.mean([v for pair, v in pairs.items() if i not in pair]) for i in range(runs)])
    return float(np.sqrt((runs - 1) / runs * ((without - without.mean()) ** 2).sum()))
