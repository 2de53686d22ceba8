"""Standard errors of scores under other test texts, drawn within the classes. Pure.

Average precision is bootstrapped (Efron & Tibshirani 1993, chapter 6), positives and negatives separately; resamples
are multinomial counts of the sorted scores, so that one sort serves all of them. Its infinitesimal jackknife is 15 to
20 % too small at 400 positives and 400 negatives. The other scores have formulas that need no draws.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from saebench_lite.stats.intervals import resample_counts

DRAWS = 200
"Resamples: a standard error from them is itself uncertain by 5 %."
NUMBERS = 1 << 22
"Resampled ranks that are in memory together."
Figure = tuple[float, float | None]
"A score and its standard error under other test texts; None where none is known."
SHORT = 2048
"Scores of one class up to which resamples are kept for many sizes."
Label = Literal["positive", "negative"]


def average_precision_error(positive: Tensor, negative: Tensor, prevalence: float) -> Tensor:
    """Standard errors of `classification.average_precision`: positive [..., p], negative [..., q] -> [...], float64."""
    up, down = (torch.from_numpy(np.sort(x.detach().cpu().double().numpy())) for x in (positive, negative))
    shape, p, q = up.shape[:-1], up.shape[-1], down.shape[-1]
    up, down = up.view(-1, p), down.view(-1, q)
    first, last = (torch.searchsorted(up, up, right=right).numpy() for right in (False, True))
    lower, step = torch.searchsorted(down, up).numpy(), max(1, NUMBERS // (p * DRAWS))
    parts = (slice(i, i + step) for i in range(0, len(up), step))
    spread = [_spread(first[part], last[part], lower[part], q, prevalence) for part in parts]
    return torch.from_numpy(np.concatenate(spread)).view(shape)


def _spread(first: np.ndarray, last: np.ndarray, lower: np.ndarray, q: int, prevalence: float) -> np.ndarray:
    """Standard deviations over resamples of the average precision of b rankings. [b] float64

    Args:
        first: how many positives lie below each one, ascending. [b, p]
        last: how many lie below it or tie with it. [b, p]
        lower: how many negatives lie below it. [b, p]
        q: negatives in all.
        prevalence: share of positives that is assumed.
    """
    p = first.shape[1]
    below = _drawn_below(p, "positive")
    recall = (p - below[first]) / p
    once = first == np.arange(p)  # of those that tie one stands for all
    weight = (below[last] - below[first]) * once[..., None]
    true, false_alarm = prevalence * recall, 1 - _drawn_below(q, "negative")[lower] / q
    precision = true / np.maximum(true + (1 - prevalence) * false_alarm, 1e-30)  # 0 / 0 where nothing is drawn
    drawn = (weight * precision).sum(1, dtype=np.float64) / p
    return (drawn - drawn[:, :1]).std(1, ddof=1)


def auroc_error(positive: Tensor, negative: Tensor) -> Tensor:
    """Standard errors of `classification.auroc`: positive [..., p >= 2], negative [..., q >= 2] -> [...], float64.

    Source: DeLong, DeLong & Clarke-Pearson 1988 (Biometrics 44), equation 4, for one curve; ties count half.
    """
    up, down = (x.detach().cpu().sort(-1).values.contiguous() for x in (positive, negative))
    p, q = up.shape[-1], down.shape[-1]
    below, above = _share_below(up, down), 1 - _share_below(down, up)
    return (below.var(-1) / p + above.var(-1) / q).sqrt()


def _share_below(x: Tensor, ordered: Tensor) -> Tensor:
    """Share of `ordered` [..., n] that lies below each x [..., m], ties half: [..., m] float64."""
    below, not_above = (torch.searchsorted(ordered, x, right=right) for right in (False, True))
    return (below + not_above).to(torch.float64) / (2 * ordered.shape[-1])


def accuracy_error(scores: Tensor, labels: Tensor, threshold: float = 0.0) -> Tensor:
    """Standard errors of `classification.accuracy`, two binomials: scores, labels (bool) [..., n] -> [...], float64."""
    _hits, _alarms, hit_variance, alarm_variance = _binomials(scores, labels, threshold)
    return (hit_variance + alarm_variance).sqrt() / labels.shape[-1]


def f1_error(scores: Tensor, labels: Tensor, threshold: Tensor | float = 0.0) -> Tensor:
    """Standard errors of `classification.f1` at fixed thresholds [...], to first order: [..., n] -> [...], float64.

    F1 = 2 H / (p + H + A) with H hits among p positives and A false alarms, both binomial (delta method). scores,
    labels (bool) [..., n]
    """
    hits, alarms, hit_variance, alarm_variance = _binomials(scores, labels, threshold)
    p = labels.sum(-1).to(torch.float64).cpu()
    variance = (p + alarms) ** 2 * hit_variance + hits**2 * alarm_variance
    return 2 * variance.sqrt() / (p + hits + alarms).clamp(min=1.0) ** 2


def _binomials(scores: Tensor, labels: Tensor, threshold: Tensor | float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Hits, false alarms, and the variance of each count, of score > threshold. [...] float64 on the CPU"""
    predicted = scores > (threshold.unsqueeze(-1) if isinstance(threshold, Tensor) else threshold)
    hits, alarms = ((predicted & c).sum(-1).to(torch.float64).cpu() for c in (labels, ~labels))
    yes, no = (c.sum(-1).to(torch.float64).cpu().clamp(min=1.0) for c in (labels, ~labels))
    return hits, alarms, hits * (1 - hits / yes), alarms * (1 - alarms / no)


def _drawn_below(n: int, label: Label) -> np.ndarray:
    """How many of the first 0, 1, ..., n of n sorted scores are drawn in each resample. [n + 1, DRAWS] float32, exact

    Positives and negatives have draws of their own, also where there are as many of both. What is short is kept for
    256 sizes, 1.6 MB each at most: hundreds of datasets come back for every subject.
    """
    return _short(n, label) if n <= SHORT else _long(n, label)


def _below(n: int, label: Label) -> np.ndarray:
    counts = resample_counts(n, DRAWS, seed=1 if label == "positive" else 2)
    below = np.concatenate([np.zeros((1, DRAWS)), counts.T.cumsum(0)]).astype(np.float32)
    below.setflags(write=False)
    return below


_short = lru_cache(maxsize=256)(_below)
_long = lru_cache(maxsize=2)(_below)
