"""Formulas on scores and labels, batched over leading axes. Pure; references in the tests are scikit-learn's."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def auroc(positive: Tensor, negative: Tensor) -> Tensor:
    """Area under the ROC curve by the rank statistic, ties counted half (Hanley & McNeil 1982).

    positive [..., p], negative [..., q] -> [...], float64.
    """
    ordered, positive = ascending(negative), ascending(positive)  # neighbours in order are found faster
    below = torch.searchsorted(ordered, positive).to(torch.float64)
    not_above = torch.searchsorted(ordered, positive, right=True).to(torch.float64)
    p, q = (below.new_tensor(float(n)) for n in (2 * positive.shape[-1], negative.shape[-1]))
    return (below + not_above).sum(-1) / p / q  # by tensors: a GPU divides by a number with its rounded reciprocal


def average_precision(positive: Tensor, negative: Tensor, prevalence: float) -> Tensor:
    """Average precision of a ranking where a share `prevalence` of the cases is positive, whatever the sample's mix.

    The mean over positives of the precision at their own score s, pi R / (pi R + (1 - pi) F), with R and F the shares
    of positives and negatives that score s or more; cases that tie are retrieved together, so a constant score has
    `prevalence`. positive [..., p], negative [..., q] -> [...], float64.

    Source: Davis & Goadrich 2006 for precision and recall; Oikarinen et al., arXiv:2506.05774, section 5, for average
    precision as a sound score of a latent for a concept.
    """
    up, down = ascending(positive.to(torch.float64)), ascending(negative.to(torch.float64))
    p, q = (up.new_tensor(float(x.shape[-1])) for x in (up, down))  # tensors, as in `auroc`
    recall = (p - torch.searchsorted(up, up).to(torch.float64)) / p
    false_alarm = (q - torch.searchsorted(down, up).to(torch.float64)) / q
    precision = prevalence * recall / (prevalence * recall + (1 - prevalence) * false_alarm)
    return precision.sum(-1) / p


def ascending(x: Tensor) -> Tensor:
    """x [..., n] sorted along its last axis; on a CPU by numpy, which sorts short rows many times faster.

    ValueError for NaN, which would be sorted above all numbers.
    """
    if x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64) or x.requires_grad:
        out = x.sort(-1).values.contiguous()
    else:
        out = torch.from_numpy(np.sort(x.contiguous().numpy(), -1))
    return _without_nan(out, out[..., -1:])


def _without_nan(scores: Tensor, looked_at: Tensor) -> Tensor:
    """The scores; ValueError for NaN among those looked at, on a CPU: asking elsewhere would wait each time."""
    if looked_at.device.type == "cpu" and looked_at.isnan().any():
        raise ValueError(f"scores hold NaN ({int(scores.isnan().sum())} of {scores.numel()}), which has no rank")
    return scores


def confusion(scores: Tensor, labels: Tensor, threshold: Tensor | float = 0.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """True positives, false positives, false negatives, true negatives [...] of score > threshold.

    scores, labels (bool) [..., n]. ValueError for NaN.
    """
    scores = _without_nan(scores, scores)
    predicted = scores > (threshold.unsqueeze(-1) if isinstance(threshold, Tensor) else threshold)
    counts = (predicted & labels, predicted & ~labels, ~predicted & labels, ~predicted & ~labels)
    tp, fp, fn, tn = (c.sum(-1).to(torch.float64) for c in counts)
    return tp, fp, fn, tn


def accuracy(scores: Tensor, labels: Tensor, threshold: Tensor | float = 0.0) -> Tensor:
    """Share of rows on the right side of the threshold. scores, labels [..., n] -> [...]."""
    tp, _, _, tn = confusion(scores, labels, threshold)
    return (tp + tn) / scores.shape[-1]


def f1(scores: Tensor, labels: Tensor, threshold: Tensor | float = 0.0) -> Tensor:
    """F1 of the positive class, 0 where nothing is found. scores, labels [..., n] -> [...]."""
    tp, fp, fn, _ = confusion(scores, labels, threshold)
    return 2 * tp / (2 * tp + fp + fn).clamp(min=1)


def best_f1_threshold(scores: Tensor, labels: Tensor) -> Tensor:
    """The thresholds t maximising F1 of score > t, half-way to the next lower score. scores, labels [..., n] -> [...].

    Ties between thresholds go to the highest one.
    """
    values, order = _without_nan(scores, scores).to(torch.float64).sort(descending=True)
    hits = labels.gather(-1, order).to(torch.float64).cumsum(-1)
    predicted = torch.arange(1, values.shape[-1] + 1, dtype=torch.float64, device=values.device)
    value = 2 * hits / (predicted + labels.sum(-1, keepdim=True))
    lower = torch.cat([values[..., 1:], values[..., -1:] - 1], -1)
    value = value.masked_fill(lower == values, -1.0)  # equal scores fall on one side together
    return ((values + lower) / 2).gather(-1, value.argmax(-1, keepdim=True))[..., 0]


def rare_f1(hit: Tensor, false_alarm: Tensor, prevalence: float | Tensor) -> Tensor:
    """F1 of a detector where a share `prevalence` of the cases is positive, from rates measured on any mix of classes.

    hit, false_alarm [...]: share of the positives and of the negatives on which it fires; prevalence broadcasts.
    """
    true, false = prevalence * hit, (1 - prevalence) * false_alarm
    return 2 * true / (true + false + prevalence)


def fires_rare_f1(scores: Tensor, labels: Tensor, prevalence: float) -> Tensor:
    """`rare_f1` of "score is not 0", column by column. scores [n, m], labels [n] bool -> [m] float64"""
    on = (_without_nan(scores, scores) != 0).to(torch.float64)
    return rare_f1(on[labels].mean(0), on[~labels].mean(0), prevalence)


def best_rare_threshold(scores: Tensor, labels: Tensor, prevalence: float) -> tuple[Tensor, Tensor]:
    """Largest `rare_f1` of "score > t" and its t, half-way to the next lower score; ties go to the highest t.

    scores [n, m], labels [n] bool -> [m] float64 each.
    """
    values, order = _without_nan(scores, scores).to(torch.float64).sort(0, descending=True)
    hits = labels[order].to(torch.float64)
    tp, fp = hits.cumsum(0) / labels.sum(), (1 - hits).cumsum(0) / (~labels).sum()
    lower = torch.cat([values[1:], values[-1:] - 1])
    value = rare_f1(tp, fp, prevalence).masked_fill(lower == values, -1.0)  # equal scores fall on one side together
    best, place = value.max(0)
    return best, ((values + lower) / 2).gather(0, place[None])[0]
