"""Linear probes, many at once: L2 logistic regression by Newton's method, difference in means. Float64 inside.

Objective of a problem (scikit-learn's): c * sum_i weight_i log(1 + exp(-s_i (x_i . w + b))) + |w|^2 / 2, s_i = +-1, the
intercept free of penalty.
"""

from __future__ import annotations

import torch
from torch import Tensor

from saebench_lite.api.probe_types import Direction, joined
from saebench_lite.probes.newton import groups, minimise


def fit_logistic(
    x: Tensor,
    y: Tensor,
    row_weight: Tensor,
    strength: Tensor,
    *,
    steps: int = 100,
    tol: float = 1e-10,
    start: Direction | None = None,
) -> Direction:
    """Logistic regressions, one a row of the batch.

    Newton steps from `start`, halved until the objective falls; a problem is done when no entry of
    its gradient exceeds tol * (1 + strength * rows). Returns weight [B, k] and bias [B], float64.

    Args:
        x: rows [B, n, k], or [1, n, k] shared by all problems.
        y: labels 0 or 1. [B, n]
        row_weight: weights of rows; 0 leaves a row out. [B, n]
        strength: inverse penalties c. [B]
        steps: of Newton's method, at most.
        tol: on the gradient.
        start: coefficients to begin with; zero by default.
    """
    parts = [
        fit_columns(
            columns_of(x if len(x) == 1 else x[group]),
            y[group],
            row_weight[group],
            strength[group],
            None if start is None else Direction(start.weight[group], start.bias[group]),
            steps,
            tol,
        )
        for group in groups([x.shape[1]] * len(y), x, shared=len(x) == 1)
    ]
    return joined(parts)


def columns_of(x: Tensor) -> Tensor:
    """x [b, n, k] as columns with a last one of ones, each contiguous: [b, k + 1, n] float64."""
    out = x.new_ones(x.shape[0], x.shape[2] + 1, x.shape[1], dtype=torch.float64)
    out[:, :-1] = x.mT
    return out


def fit_columns(
    columns: Tensor,
    y: Tensor,
    row_weight: Tensor,
    strength: Tensor,
    start: Direction | None = None,
    steps: int = 100,
    tol: float = 1e-8,
    share: float = 0.0,
    ridge: Tensor | None = None,
) -> Direction:
    """`fit_logistic` of one group; columns as `columns_of` gives them, `share` and `ridge` as in `minimise`."""
    weight = row_weight.to(columns.dtype) * strength.to(columns.dtype)[:, None]
    w = columns.new_zeros(len(y), columns.shape[1])
    if start is not None:
        w = torch.cat([start.weight, start.bias[:, None]], -1)
    w = minimise(columns, y.to(columns.dtype), weight, w, tol * (1 + weight.sum(-1)), steps, share, ridge)
    return Direction(w[:, :-1], w[:, -1])


def standardise(x: Tensor, row_weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Columns centred and scaled by the weighted rows.

    x [B or 1, n, k], row_weight [B, n] -> x' [B, n, k], mean, sd [B, k].
    A constant column gets sd 1 and so becomes zero.
    """
    x, row_weight = x.to(torch.float64), row_weight.to(torch.float64)
    total = row_weight.sum(-1, keepdim=True)
    mean = (row_weight.unsqueeze(-2) @ x).squeeze(-2) / total
    centred = x - mean.unsqueeze(-2)
    sd = ((row_weight.unsqueeze(-2) @ centred.square()).squeeze(-2) / total).sqrt()
    sd = torch.where(sd > 1e-12 * (1 + mean.abs()), sd, 1.0)
    return centred.div_(sd.unsqueeze(-2)), mean, sd


def diff_in_means(x: Tensor, y: Tensor, train_mask: Tensor) -> Direction:
    """Difference of class means with the threshold half-way between them.

    x [n, d] shared by all problems, y and train_mask [B, n].
    Source: Marks & Tegmark, arXiv:2310.06824, section 5 ("mass-mean").
    """
    x, y, train_mask = x.to(torch.float64), y.to(torch.float64), train_mask.to(torch.float64)
    positive, negative = train_mask * y, train_mask * (1 - y)
    high = positive @ x / positive.sum(-1, keepdim=True)
    low = negative @ x / negative.sum(-1, keepdim=True)
    weight = high - low
    return Direction(weight, -(weight * (high + low)).sum(-1) / 2)


def scores(direction: Direction, x: Tensor) -> Tensor:
    """Scores [B, n] float64 of x [n, d] (shared) or [B, n, d] under the B directions, of any type of numbers."""
    x, weight, bias = x.to(torch.float64), direction.weight.to(torch.float64), direction.bias.to(torch.float64)
    if x.ndim == 2:
        return weight @ x.mT + bias[:, None]
    return (x @ weight.unsqueeze(-1)).squeeze(-1) + bias[:, None]
