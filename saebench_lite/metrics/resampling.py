"""Standard errors of scores under other test texts, drawn within the classes. Pure.

Average precision is bootstrapped (Efron & Tibshirani 1993, chapter 6), positives and negatives separately; resamples
are multinomial counts of the sorted scores, so that one sort serves all of them. Its infinitesimal jackknife is 15 to
20 % too small at 400 positives and 400 negatives. The other scores have formulas that need no draws.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
from torch import Tensor

from saebench_lite.stats.intervals import resample_counts

DRAWS = 200
"Resamples: a standard error from them is itself uncertain by 5 %."
SHORT = 2048
"Scores of one class up to which resamples are kept for many sizes."
Label = Literal["positive", "negative"]


def average_precision_error(positive: Tensor, negative: Tensor, prevalence: float) -> float:
    """Standard error of `classification.average_precision`. positive [p], negative [q]"""
    up, down = _ascending(positive), _ascending(negative)
    p, q = len(up), len(down)
    first = np.flatnonzero(np.append(True, up[1:] > up[:-1]))  # of each distinct score
    caught = p - _drawn_below(p, "positive")[np.append(first, p)]
    recall, weight = caught[:-1] / p, caught[:-1] - caught[1:]
    false_alarm = 1 - _drawn_below(q, "negative")[np.searchsorted(down, up[first])] / q
    true = prevalence * recall
    precision = true / np.maximum(true + (1 - prevalence) * false_alarm, 1e-30)  # 0 / 0 where nothing is drawn
    drawn = (weight * precision).sum(0, dtype=np.float64) / p
    return float((drawn - drawn[0]).std(ddof=1))


def auroc_error(positive: Tensor, negative: Tensor) -> float:
    """Standard error of `classification.auroc`. positive [p >= 2], negative [q >= 2]

    Source: DeLong, DeLong & Clarke-Pearson 1988 (Biometrics 44), equation 4, for one curve; ties count half.
    """
    up, down = _ascending(positive), _ascending(negative)
    below = (np.searchsorted(down, up) + np.searchsorted(down, up, "right")) / (2 * len(down))
    above = 1 - (np.searchsorted(up, down) + np.searchsorted(up, down, "right")) / (2 * len(up))
    return float(np.sqrt(below.var(ddof=1) / len(up) + above.var(ddof=1) / len(down)))


def accuracy_error(scores: Tensor, labels: Tensor, threshold: float = 0.0) -> float:
    """Standard error of `classification.accuracy`: two binomials. scores, labels (bool) [n]"""
    _hits, _alarms, hit_variance, alarm_variance = _binomials(scores, labels, threshold)
    return float(np.sqrt(hit_variance + alarm_variance) / len(labels))


def f1_error(scores: Tensor, labels: Tensor, threshold: float = 0.0) -> float:
    """Standard error of `classification.f1` at a fixed threshold, to first order. scores, labels (bool) [n]

    F1 = 2 H / (p + H + A) with H hits among p positives and A false alarms, both binomial (delta method).
    """
    hits, alarms, hit_variance, alarm_variance = _binomials(scores, labels, threshold)
    p = float(labels.sum())
    variance = (p + alarms) ** 2 * hit_variance + hits**2 * alarm_variance
    return float(2 * np.sqrt(variance) / max(p + hits + alarms, 1.0) ** 2)


def _binomials(scores: Tensor, labels: Tensor, threshold: float) -> tuple[float, float, float, float]:
    """Hits, false alarms, and the variance of each count, of score > threshold."""
    predicted = scores > threshold
    counts = [(float((predicted & c).sum()), max(1.0, float(c.sum()))) for c in (labels, ~labels)]
    (hits, p), (alarms, q) = counts
    return hits, alarms, hits * (1 - hits / p), alarms * (1 - alarms / q)


def _ascending(x: Tensor) -> np.ndarray:
    return np.sort(x.detach().cpu().numpy().astype(np.float64))


def _drawn_below(n: int, label: Label) -> np.ndarray:
    """How many of the first 0, 1, ..., n of n sorted scores are drawn in each resample. [n + 1, DRAWS] float32, exact

    Positives and negatives have draws of their own, also where there are as many of both. What is short is kept for
    many sizes, 1.6 MB each at most: hundreds of datasets come back for every subject.
    """
    return _short(n, label) if n <= SHORT else _long(n, label)


def _below(n: int, label: Label) -> np.ndarray:
    counts = resample_counts(n, DRAWS, seed=1 if label == "positive" else 2)
    below = np.concatenate([np.zeros((1, DRAWS)), counts.T.cumsum(0)]).astype(np.float32)
    below.setflags(write=False)
    return below


_short = lru_cache(maxsize=256)(_below)
_long = lru_cache(maxsize=16)(_below)
