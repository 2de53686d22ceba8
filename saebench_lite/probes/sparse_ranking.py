"""Columns ranked by an L1-penalised logistic regression, many problems at once."""

from __future__ import annotations

import torch
from torch import Tensor

from saebench_lite.probes.curvature import coarse, gram
from saebench_lite.probes.logistic import columns_of, standardise
from saebench_lite.probes.newton import HALVINGS, gradients, groups, margins, noise

DIGITS = 9
"Of a weight; below them sums of another order differ, and columns that are alike would rank by chance."
RIDGE = 1e-5
"Added to second derivatives: columns that are alike share a weight evenly."
LIMIT = 1e-12
"Of a gradient, by which a problem is solved."


def fit_sparse_ranking(x: Tensor, y: Tensor, n_train: int, *, l1: float = 0.01, steps: int = 100) -> Tensor:
    """Columns of each problem by their signed weight in an L1-penalised, class-balanced logistic regression.

    Its optimum on standardised columns: mean weighted loss + l1 |w|_1, the intercept free. Returns column indices
    [B, k], largest weight first; of equal ones (to `DIGITS`) the first.

    Args:
        x: rows. [B, n, k]
        y: labels. [B, n] bool
        n_train: rows that count, the first ones.
        l1: penalty.
        steps: at most.
    """
    y = y[:, :n_train].to(torch.float64)
    parts = groups([n_train] * len(y), x)
    weights = torch.cat([sparse_weights(x[part, :n_train], y[part], l1, steps)[:, :-1] for part in parts])
    return weights.round(decimals=DIGITS).argsort(dim=-1, descending=True, stable=True)


def sparse_weights(x: Tensor, y: Tensor, l1: float, steps: int) -> Tensor:
    """Coefficients [b, k + 1] of `fit_sparse_ranking`, the intercept last, by an orthant-based Newton method.

    A step solves for the coefficients that are not 0 or would leave it, each held to its side of 0, and is halved until
    the objective falls (Byrd, Chin, Nocedal & Oztoprak, Mathematical Programming 159, 2016, section 3).

    Args:
        x: rows. [b, n, k]
        y: labels 0 or 1. [b, n] float64
        l1: penalty.
        steps: at most.
    """
    x = columns_of(standardise(x, torch.ones_like(x[..., 0]))[0])
    share = y.mean(-1, keepdim=True)
    weight = torch.where(y > 0, 0.5 / share, 0.5 / (1 - share)) / y.shape[1]
    penalty = x.new_full(x.shape[1:2], l1)
    penalty[-1] = 0.0
    rounded = coarse(x)
    w, left = x.new_zeros(x.shape[:2]), torch.arange(len(x), device=x.device)
    out = w.clone()
    margin, value = _objective(x, w, y, weight, penalty)
    found = torch.ones_like(value, dtype=torch.bool)
    for _ in range(steps):
        p = torch.sigmoid(margin)
        slope = _slope(gradients(x, weight * (p - y)), w, penalty)
        going = found & (slope.abs().amax(-1) > LIMIT)
        out[left] = w
        if not going.any():
            break
        if not going.all():
            state = (x, rounded, y, weight, w, margin, value, p, slope, left)
            x, rounded, y, weight, w, margin, value, p, slope, left = (t[going] for t in state)
        curvature = gram(rounded, (weight * p * (1 - p)).float())[:, : x.shape[1], : x.shape[1]].to(x.dtype)
        w, margin, value, found = _stepped(x, w, curvature, slope, (margin, value), y, weight, penalty)
    out[left] = w
    return out


def _stepped(
    x: Tensor,
    w: Tensor,
    curvature: Tensor,
    slope: Tensor,
    here: tuple[Tensor, Tensor],
    y: Tensor,
    weight: Tensor,
    penalty: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Coefficients, margins and objective after a step halved until the objective falls, and whether it does. [b]

    Args:
        x: columns. [b, k + 1, n]
        w: coefficients before it. [b, k + 1]
        curvature: second derivatives, of wide problems the lower triangle. [b, k + 1, k + 1]
        slope: of the objective (`_slope`). [b, k + 1]
        here: margins [b, n] and objective [b] at w.
        y: labels. [b, n]
        weight: of each row in the loss. [b, n]
        penalty: of each coefficient. [k + 1]
    """
    margin, value = here
    direction, side = _direction(curvature.tril() + curvature.tril(-1).mT, slope, w), torch.where(w != 0, w, -slope)
    length, found, start, before = torch.ones_like(value), torch.zeros_like(value, dtype=torch.bool), w, value
    for _ in range(HALVINGS):
        trial = start + length[:, None] * direction
        trial = torch.where((trial * side < 0) & (penalty > 0), 0.0, trial)
        there, reached = _objective(x, trial, y, weight, penalty)
        promised = 1e-4 * (slope * (trial - start)).sum(-1)
        good = ~found & (reached <= before + promised + noise(before))
        w = torch.where(good[:, None], trial, w)
        margin, value = torch.where(good[:, None], there, margin), torch.where(good, reached, value)
        found |= good
        if found.all():
            break
        length = torch.where(found, length, length / 2)
    return w, margin, value, found


def _objective(x: Tensor, w: Tensor, y: Tensor, weight: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor]:
    """Margins [b, n] and the objective [b]."""
    margin = margins(x, w)
    return margin, (weight * (torch.nn.functional.softplus(margin) - y * margin)).sum(-1) + (penalty * w.abs()).sum(-1)


def _slope(gradient: Tensor, w: Tensor, penalty: Tensor) -> Tensor:
    """Of the objective in the direction in which it falls; 0 where it rises to both sides. [b, k]"""
    at_zero = gradient.sign() * (gradient.abs() - penalty).clamp(min=0.0)
    return torch.where(w != 0, gradient + penalty * w.sign(), at_zero)


def _direction(curvature: Tensor, slope: Tensor, w: Tensor) -> Tensor:
    """Newton's step [b, k] over the coefficients that are not 0 or that it moves the way in which the objective falls.

    So it points downhill, however short it becomes.
    """
    free = (w != 0) | (slope != 0)
    while True:
        matrix = curvature * (free[:, None] & free[:, :, None])
        matrix.diagonal(dim1=-2, dim2=-1).add_(RIDGE + (~free).double())
        step = torch.linalg.solve(matrix, torch.where(free, -slope, 0.0))
        wrong = free & (w == 0) & (step * slope > 0)
        if not wrong.any():
            return step
        free &= ~wrong
