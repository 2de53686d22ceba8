"""Linear probes, many at once: L2 logistic regression by Newton's method, difference in means. Float64 inside.

Objective of a problem (scikit-learn's): c * sum_i use_i log(1 + exp(-s_i (x_i . w + b))) + |w|^2 / 2, s_i = +-1, the
intercept free of penalty.
"""

from __future__ import annotations

import torch
from torch import Tensor

from saebench_lite.task import Direction

GRID = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
"Strengths c tried by `fit_logistic_validated` on standardised columns."


def fit_logistic(x: Tensor, y: Tensor, use: Tensor, c: Tensor, *, steps: int = 100, tol: float = 1e-8) -> Direction:
    """Logistic regressions, one a row of the batch.

    x [B, n, k] (or [1, n, k], shared), y [B, n] in {0, 1}, use [B, n] weights (0 leaves a row out), c [B] strengths.
    Newton steps, halved until the objective falls; stops when no gradient exceeds tol * (1 + c * rows).
    Returns weight [B, k] and bias [B], float64.
    """
    x, y, use, c = (t.to(torch.float64) for t in (x, y, use, c))
    x = torch.cat([x, x.new_ones(*x.shape[:-1], 1)], -1)
    weight_c = use * c[:, None]
    ridge = x.new_ones(x.shape[-1])
    ridge[-1] = 0.0
    w = x.new_zeros(len(y), x.shape[-1])
    limit = tol * (1 + weight_c.sum(-1))

    def margin_of(w: Tensor) -> Tensor:
        return (x @ w.unsqueeze(-1)).squeeze(-1)

    def objective(w: Tensor, margin: Tensor) -> Tensor:
        loss = torch.nn.functional.softplus(margin) - y * margin
        return (weight_c * loss).sum(-1) + 0.5 * (ridge * w * w).sum(-1)

    margin = margin_of(w)
    value = objective(w, margin)
    for _ in range(steps):
        p = torch.sigmoid(margin)
        gradient = ((weight_c * (p - y)).unsqueeze(-2) @ x).squeeze(-2) + ridge * w
        if (gradient.abs().amax(-1) <= limit).all():
            break
        curvature = (weight_c * p * (1 - p)).unsqueeze(-1)
        hessian = x.mT @ (curvature * x) + torch.diag(ridge + 1e-10)
        direction = torch.linalg.solve(hessian, gradient.unsqueeze(-1)).squeeze(-1)
        slope = (gradient * direction).sum(-1)
        length = torch.ones_like(value)
        for _ in range(30):
            trial = w - length[:, None] * direction
            trial_margin = margin_of(trial)
            trial_value = objective(trial, trial_margin)
            bad = trial_value > value - 1e-4 * length * slope + 1e-12 * value.abs()
            if not bad.any():
                break
            length = torch.where(bad, length / 2, length)
        better = trial_value <= value
        w = torch.where(better[:, None], trial, w)
        margin = torch.where(better[:, None], trial_margin, margin)
        if not (better & (value - trial_value > 1e-13 * (1 + value.abs()))).any():
            break
        value = torch.where(better, trial_value, value)
    return Direction(w[:, :-1], w[:, -1])


def standardise(x: Tensor, use: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Columns centred and scaled by the used rows: x [B or 1, n, k], use [B, n] -> x' [B, n, k], mean, sd [B, k].

    A constant column gets sd 1 and so becomes zero.
    """
    x, use = x.to(torch.float64), use.to(torch.float64)
    total = use.sum(-1, keepdim=True)
    mean = (use.unsqueeze(-1) * x).sum(-2) / total
    centred = x - mean.unsqueeze(-2)
    sd = ((use.unsqueeze(-1) * centred.square()).sum(-2) / total).sqrt()
    sd = torch.where(sd > 1e-12 * (1 + mean.abs()), sd, 1.0)
    return centred / sd.unsqueeze(-2), mean, sd


def folds(use: Tensor, y: Tensor) -> Tensor:
    """Validation masks [F, B, n] inside the used rows, drawn without chance: consecutive fifths of each class.

    One fold (the last fifth, held out) from 128 used rows up, five folds below. Rows arrive in random order from the
    split; tokens arrive text by text, and a fold holds whole texts but for its edges.
    """
    use, y = use.bool(), y.bool()
    place, count = torch.zeros_like(use, dtype=torch.long), torch.ones_like(use, dtype=torch.long)
    for mine in (use & y, use & ~y):
        place = torch.where(mine, mine.cumsum(-1) - 1, place)
        count = torch.where(mine, mine.sum(-1, keepdim=True), count)
    fifth = place * 5 // count
    chosen = [4] if int(use.sum(-1).min()) >= 128 else range(5)
    return torch.stack([use & (fifth == f) for f in chosen])


def fit_logistic_validated(x: Tensor, y: Tensor, use: Tensor, grid: tuple[float, ...] = GRID) -> Direction:
    """Logistic regression on standardised columns with the strength chosen by validation log-loss within `use`.

    x [B or 1, n, k], y [B, n], use [B, n] bool. Ties and near-ties go to the stronger penalty by order of the grid.
    The direction returned is in x's own scale. Scaling a column of x does not change what is predicted.
    """
    use, y = use.bool(), y.to(torch.float64)
    x, mean, sd = standardise(x, use)
    basis = None
    if x.shape[-1] > x.shape[-2]:  # the solution lies in the span of the rows
        basis = torch.linalg.qr(x.mT).Q
        x = x @ basis
    held = folds(use, y)
    losses = []
    for c in grid:
        loss = torch.zeros(len(y), dtype=torch.float64, device=x.device)
        for valid in held:
            fitted = fit_logistic(x, y, use & ~valid, loss.new_full((len(y),), c))
            margin = (x @ fitted.weight.unsqueeze(-1)).squeeze(-1) + fitted.bias[:, None]
            loss += (valid * (torch.nn.functional.softplus(margin) - y * margin)).sum(-1)
        losses.append(loss)
    best = torch.tensor(grid, dtype=torch.float64, device=x.device)[torch.stack(losses).argmin(0)]
    fitted = fit_logistic(x, y, use, best)
    weight = (fitted.weight if basis is None else (basis @ fitted.weight.unsqueeze(-1)).squeeze(-1)) / sd
    return Direction(weight, fitted.bias - (weight * mean).sum(-1))


def fit_each(x: Tensor, y: Tensor, use: Tensor) -> Direction:
    """`fit_logistic_validated` problem by problem on shared rows: x [n, d], y and use [problems, n]."""
    fitted = [
        fit_logistic_validated(x[rows][None], labels[rows][None], rows[rows][None])
        for labels, rows in zip(y, use.bool(), strict=True)
    ]
    return Direction(torch.cat([f.weight for f in fitted]), torch.cat([f.bias for f in fitted]))


def diff_in_means(x: Tensor, y: Tensor, use: Tensor) -> Direction:
    """Difference of class means with the threshold half-way between them.

    x [n, d] shared by all problems, y and use [B, n]. Marks & Tegmark, arXiv:2310.06824, section 5 ("mass-mean").
    """
    x, y, use = x.to(torch.float64), y.to(torch.float64), use.to(torch.float64)
    positive, negative = use * y, use * (1 - y)
    high = positive @ x / positive.sum(-1, keepdim=True)
    low = negative @ x / negative.sum(-1, keepdim=True)
    weight = high - low
    return Direction(weight, -(weight * (high + low)).sum(-1) / 2)


def scores(direction: Direction, x: Tensor) -> Tensor:
    """Scores [B, n] of x [n, d] (shared) or [B, n, d] under the B directions."""
    if x.ndim == 2:
        return direction.weight @ x.to(torch.float64).mT + direction.bias[:, None]
    return (x.to(torch.float64) @ direction.weight.unsqueeze(-1)).squeeze(-1) + direction.bias[:, None]


def fit_sparse_ranking(x: Tensor, y: Tensor, n_train: int, *, l1: float = 0.01, steps: int = 300) -> Tensor:
    """Columns of each problem by their signed weight in an L1-penalised, class-balanced logistic regression.

    x [B, n, k], y [B, n] bool; the first n_train rows count. Accelerated proximal gradient (Beck & Teboulle 2009) on
    standardised columns: mean weighted loss + l1 |w|_1. Returns column indices [B, k], largest weight first.
    """
    use = (torch.arange(y.shape[1], device=y.device) < n_train).expand_as(y)
    x = standardise(x, use)[0][:, :n_train]
    y = y[:, :n_train].to(torch.float64)
    share = y.mean(-1, keepdim=True)
    weight = torch.where(y > 0, 0.5 / share, 0.5 / (1 - share)) / n_train
    x = torch.cat([x, x.new_ones(*x.shape[:-1], 1)], -1)
    curvature = (x.mT @ (weight.unsqueeze(-1) * x)).diagonal(dim1=-2, dim2=-1).sum(-1) / 4  # trace bounds the norm
    step = (1 / curvature)[:, None]
    w = z = x.new_zeros(len(y), x.shape[-1])
    momentum = 1.0
    for _ in range(steps):
        margin = (x @ z.unsqueeze(-1)).squeeze(-1)
        gradient = ((weight * (torch.sigmoid(margin) - y)).unsqueeze(-2) @ x).squeeze(-2)
        moved = z - step * gradient
        shrunk = moved.sign() * (moved.abs() - step * l1).clamp(min=0.0)
        new = torch.cat([shrunk[:, :-1], moved[:, -1:]], -1)
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        z = new + (momentum - 1) / following * (new - w)
        w, momentum = new, following
    return w[:, :-1].argsort(dim=-1, descending=True, stable=True)
