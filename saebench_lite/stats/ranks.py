"""Ranks as intervals, and scores on the scale from the best control to the best baseline. Pure functions of arrays."""

from __future__ import annotations

import numpy as np

from saebench_lite.stats.intervals import influence, interval
from saebench_lite.stats.paired import SAME, bootstrap_p, holm


def rank_intervals(x: np.ndarray, w: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """(best, worst) rank of each subject, [subjects] each, from oriented scores (higher is better).

    x, w [subjects, units], all finite: the scores of all subjects on the same units, and their weights. Every pair is
    tested on its paired differences and the p-values are adjusted over pairs (Holm); best = 1 + the subjects
    significantly better, worst = subjects - the ones significantly worse. With probability `level` no subject's
    interval misses its true rank. Needs two units; with one, all share all ranks.

    Source: Mogstad, Romano, Shaikh & Wilhelm 2024 (Review of Economic Studies 91), the interval from pairwise tests;
    Goldstein & Healy 1995 for showing it in league tables.
    """
    subjects, units = x.shape
    best, worst = np.ones(subjects, dtype=int), np.full(subjects, subjects)
    if units < 2 or subjects < 2:
        return best, worst
    mean = (w * x).sum(1) / w.sum(1)
    e = np.stack([influence(x[i], w[i]) for i in range(subjects)])
    pseudo = (e - e.mean(1, keepdims=True) + mean[:, None]).T
    first, second = np.triu_indices(subjects, 1)
    differences = pseudo[:, first] - pseudo[:, second]
    p = bootstrap_p(differences)
    p[(np.abs(x[first] - x[second]) <= SAME * np.maximum(np.abs(x[first]), np.abs(x[second]))).all(1)] = 1.0
    apart = holm(p) <= 1 - level
    above = np.where(mean[first] > mean[second], first, second)[apart]
    below = np.where(mean[first] > mean[second], second, first)[apart]
    np.add.at(best, below, 1)
    np.add.at(worst, above, -1)
    return best, worst


def calibrated(x: np.ndarray, w: np.ndarray) -> tuple[float, float | None, float | None] | None:
    """(raw - control) / (ceiling - control) with its interval, or None where the ceiling is not above the control.

    x, w [3, units]: oriented scores (higher is better) and weights of subject, control and ceiling on the same units,
    all finite. Units are resampled once for all three, as pseudo-values of the ratio.
    """
    n = x.shape[1]
    raw, control, ceiling = (w * x).sum(1) / w.sum(1)
    if not ceiling > control:
        return None
    value = (raw - control) / (ceiling - control)
    if n < 2:
        return float(value), None, None
    e_raw, e_control, e_ceiling = (influence(x[i], w[i]) for i in range(3))
    e = ((e_raw - e_control) - value * (e_ceiling - e_control)) / (ceiling - control)
    return float(value), *interval(e - e.mean() + value, np.ones(n))
