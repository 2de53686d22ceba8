"""Logistic regressions on standardised columns whose strength is chosen by validation."""

from __future__ import annotations

import torch
from torch import Tensor

from saebench_lite.api.probe_types import Direction, joined
from saebench_lite.probes.logistic import columns_of, fit_columns, standardise
from saebench_lite.probes.newton import groups
from saebench_lite.probes.strengths import chosen_strengths, used_first

GRID = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
"Strengths c tried, on standardised columns."
ONE_FOLD = 128
"Training rows from which one validation fold is enough to choose a strength."


def fit_logistic_validated(x: Tensor, y: Tensor, train_mask: Tensor, grid: tuple[float, ...] = GRID) -> Direction:
    """Logistic regression on standardised columns with the strength chosen by validation log-loss within `train_mask`.

    Ties and near-ties go to the stronger penalty by order of the grid.
    What a problem gets does not depend on the others: those with few rows, which need five folds, go by themselves.
    The direction returned is in x's own scale. Scaling a column of x does not change what is predicted.

    Args:
        x: rows [B, n, k], or [1, n, k] shared by all problems.
        y: labels. [B, n]
        train_mask: training rows. [B, n] bool
        grid: strengths tried, strongest penalty first.
    """
    train_mask, y = train_mask.bool(), y.to(torch.float64)
    rows = train_mask.sum(-1)
    order = rows.argsort(descending=True, stable=True)
    parts = []
    for kind in order.split([int((rows >= ONE_FOLD).sum()), int((rows < ONE_FOLD).sum())]):
        for group in groups(rows[kind].tolist(), x, reduced=True):
            which = kind[group]
            place = used_first(train_mask[which])
            rows_of = (x if len(x) == 1 else x[which]).expand(len(which), -1, -1)
            packed = rows_of.gather(1, place[..., None].expand(-1, -1, x.shape[-1]))
            masks = (m.gather(1, place).double() for m in (train_mask[which], *folds(train_mask[which], y[which])))
            parts.append(validated(packed, y[which].gather(1, place), *masks, grid=grid))
    fitted, back = joined(parts), order.argsort()
    return Direction(fitted.weight[back], fitted.bias[back])


def validated(x: Tensor, y: Tensor, train: Tensor, *validation: Tensor, grid: tuple[float, ...]) -> Direction:
    """`fit_logistic_validated` of one group.

    Args:
        x: rows [b, n, k], or [1, n, k] shared by all problems, in each of which every column varies.
        y: labels. [b, n]
        train: how often each row counts. [b, n] float64
        validation: how often each does in a fold's validation part. [b, n] float64
        grid: strengths.
    """
    ridge = basis = None
    if len(x) == 1 < len(y):  # columns of one scale, and each problem's own in its penalties
        x, mean, sd = standardise(x, train.sum(0, keepdim=True))
        ridge = _variances(x[0], train)
    else:
        x, mean, sd = standardise(x, train)
        if x.shape[-1] > x.shape[-2]:  # the solution lies in the span of the rows
            basis = torch.linalg.qr(x.mT).Q
            x = x @ basis
    columns = columns_of(x)
    strength, start = chosen_strengths(columns, y, train, validation, grid, ridge)
    fitted = fit_columns(columns, y, train, strength, start, tol=1e-11, ridge=ridge)
    weight = (fitted.weight if basis is None else (basis @ fitted.weight.unsqueeze(-1)).squeeze(-1)) / sd
    return Direction(weight, fitted.bias - (weight * mean).sum(-1))


def _variances(x: Tensor, row_weight: Tensor) -> Tensor:
    """Of each column over the rows of each problem, and 0 for the intercept: [b, k + 1].

    As penalties they do what 1 does on standardised columns. x [n, k], row_weight [b, n]
    """
    total = row_weight.sum(-1, keepdim=True)
    variance = row_weight @ x.square() / total - (row_weight @ x / total).square()
    return torch.cat([variance, torch.zeros_like(total)], -1)


def folds(train_mask: Tensor, y: Tensor) -> Tensor:
    """Stratified validation masks [folds, B, n] without randomness: the i-th fifth of each class's training rows.

    One fold (the last fifth) where all problems have ONE_FOLD training rows or more, else five. Rows come from the
    split in random order; tokens come text by text, so that a fold is made of whole texts but for its edges.

    train_mask [B, n]: training rows; y [B, n]: labels.
    """
    train_mask, y = train_mask.bool(), y.bool()
    place, count = torch.zeros_like(train_mask, dtype=torch.long), torch.ones_like(train_mask, dtype=torch.long)
    for rows in (train_mask & y, train_mask & ~y):
        place = torch.where(rows, rows.cumsum(-1) - 1, place)
        count = torch.where(rows, rows.sum(-1, keepdim=True), count)
    fifth = place * 5 // count
    chosen = [4] if int(train_mask.sum(-1).min()) >= ONE_FOLD else range(5)
    return torch.stack([train_mask & (fifth == f) for f in chosen])
