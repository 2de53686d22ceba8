"""Linear probes, many at once: L2 logistic regression by Newton's method, difference in means. Float64 inside.

Objective of a problem (scikit-learn's): c * sum_i weight_i log(1 + exp(-s_i (x_i . w + b))) + |w|^2 / 2, s_i = +-1, the
intercept free of penalty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from saebench_lite.api.probe_types import Direction, joined
from saebench_lite.probes.newton import groups, minimise

GRID = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
"Strengths c tried by `fit_logistic_validated` on standardised columns."

ONE_FOLD = 128
"Training rows from which one validation fold is enough to choose a strength."
SHARE = 1e-5
"Of the first gradient, left in fits that serve to choose a strength."
PATH = torch.float32
"The type of these fits."
WORSE = 0.1
"Share by which a validation loss exceeds the least one before it where no weaker penalty is tried: none does better."


def fit_logistic(
    x: Tensor,
    y: Tensor,
    row_weight: Tensor,
    strength: Tensor,
    *,
    steps: int = 100,
    tol: float = 1e-8,
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
        _fit_columns(
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


def _fit_columns(
    columns: Tensor,
    y: Tensor,
    row_weight: Tensor,
    strength: Tensor,
    start: Direction | None = None,
    steps: int = 100,
    tol: float = 1e-8,
    share: float = 0.0,
) -> Direction:
    """`fit_logistic` of one group; columns as `columns_of` gives them, `share` as in `minimise`."""
    weight = row_weight.to(columns.dtype) * strength.to(columns.dtype)[:, None]
    w = columns.new_zeros(len(y), columns.shape[1])
    if start is not None:
        w = torch.cat([start.weight, start.bias[:, None]], -1)
    w = minimise(columns, y.to(columns.dtype), weight, w, tol * (1 + weight.sum(-1)), steps, share)
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
            place = _used_first(train_mask[which])
            rows_of = (x if len(x) == 1 else x[which]).expand(len(which), -1, -1)
            packed = rows_of.gather(1, place[..., None].expand(-1, -1, x.shape[-1]))
            masks = (m.gather(1, place).double() for m in (train_mask[which], *folds(train_mask[which], y[which])))
            parts.append(validated(packed, y[which].gather(1, place), *masks, grid=grid))
    fitted, back = joined(parts), order.argsort()
    return Direction(fitted.weight[back], fitted.bias[back])


def _used_first(mask: Tensor) -> Tensor:
    """Row numbers [b, m], used rows first and in order; m: the most that a problem uses. mask [b, n]: 0 is unused."""
    used = mask != 0
    return (~used).to(torch.uint8).argsort(dim=-1, stable=True)[:, : int(used.sum(-1).max())]


def validated(x: Tensor, y: Tensor, train: Tensor, *validation: Tensor, grid: tuple[float, ...]) -> Direction:
    """`fit_logistic_validated` of one group.

    Args:
        x: rows. [b, n, k]
        y: labels. [b, n]
        train: how often each row counts. [b, n] float64
        validation: how often each does in a fold's validation part. [b, n] float64
        grid: strengths.
    """
    x, mean, sd = standardise(x, train)
    basis = None
    if x.shape[-1] > x.shape[-2]:  # the solution lies in the span of the rows
        basis = torch.linalg.qr(x.mT).Q
        x = x @ basis
    columns = columns_of(x)
    strength, start = _chosen(columns.to(PATH), y.to(PATH), train, validation, grid)
    fitted = _fit_columns(columns, y, train, strength, start, tol=1e-11)
    weight = (fitted.weight if basis is None else (basis @ fitted.weight.unsqueeze(-1)).squeeze(-1)) / sd
    return Direction(weight, fitted.bias - (weight * mean).sum(-1))


def _chosen(
    columns: Tensor, y: Tensor, train: Tensor, validation: Sequence[Tensor], grid: tuple[float, ...]
) -> tuple[Tensor, Direction]:
    """Each problem's strength [b] of the least validation loss, the strongest penalty of equal ones, and a fit with it.

    Strengths are tried in the order of the grid; a problem's trials end where the loss exceeds its least one by a share
    of `WORSE`. A fit starts from the fold before it; that of the first fold at the first strength from the classes'
    odds, at the second from that one, and further on from where the two before it point.

    Args:
        columns: as `columns_of` gives them, of any type. [b, k + 1, n]
        y: labels, of the same type. [b, n]
        train: how often each row counts. [b, n]
        validation: how often each does in a fold's validation part. [b, n]
        grid: strengths.
    """
    parts = [[_rows(mask.to(y.dtype), columns, y) for mask in (train - valid, valid)] for valid in validation]
    least = columns.new_full((len(y),), torch.inf, dtype=torch.float64)
    strengths = torch.full_like(least, grid[0])
    best = columns.new_zeros(columns.shape[:2], dtype=torch.float64)
    left, path = torch.arange(len(y), device=y.device), list[Direction]()
    for strength in grid:
        fits: list[Direction] = []
        for seen, _ in parts:
            start = fits[-1] if fits else _ahead(path) if path else _odds(*seen)
            fits.append(_fit_columns(*seen, least.new_full((len(left),), strength), start, share=SHARE))
        path = [*path[-1:], fits[0]]
        loss = torch.stack([_log_loss(fit, *unseen) for fit, (_, unseen) in zip(fits, parts, strict=True)]).sum(0)
        better = loss < least[left]
        which, last = left[better], Direction(*(t[better] for t in fits[-1]))
        least[which], strengths[which] = loss[better], strength
        best[which] = torch.cat([last.weight, last.bias[:, None]], -1).double()
        going = loss <= (1 + WORSE) * least[left]
        if not going.any():
            break
        if not going.all():
            left, path = left[going], [Direction(*(t[going] for t in fit)) for fit in path]
            parts = [[_Rows(*(t[going] for t in rows)) for rows in part] for part in parts]
    return strengths, Direction(best[:, :-1], best[:, -1])


def _ahead(path: Sequence[Direction]) -> Direction:
    """Where the last two fits point; the only one."""
    return Direction(*(2 * last - before for before, last in zip(path[0], path[-1], strict=True)))


def _log_loss(fitted: Direction, columns: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """Of each problem, summed over its rows. [b] float64"""
    margin = (fitted.weight[:, None] @ columns[:, :-1])[:, 0] + fitted.bias[:, None]
    return (mask * (torch.nn.functional.softplus(margin) - y * margin)).sum(-1, dtype=torch.float64)


def _odds(columns: Tensor, y: Tensor, mask: Tensor) -> Direction:
    """No weights, and the intercept of about the classes' odds; there may be no rows."""
    positive, negative = ((mask * part).sum(-1) + 0.5 for part in (y, 1 - y))
    return Direction(columns.new_zeros(len(y), columns.shape[1] - 1), (positive / negative).log())


class _Rows(NamedTuple):
    """The rows that each problem uses, and what pads the problems that use fewer."""

    columns: Tensor
    "[b, k + 1, m]"
    y: Tensor
    "Labels. [b, m]"
    mask: Tensor
    "How often each counts, 0 for padding. [b, m]"


def _rows(mask: Tensor, columns: Tensor, y: Tensor) -> _Rows:
    place = _used_first(mask)
    wide = place[:, None].expand(-1, columns.shape[1], -1)
    return _Rows(columns.gather(2, wide), y.gather(1, place), mask.gather(1, place))


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
    """Scores [B, n] of x [n, d] (shared) or [B, n, d] under the B directions."""
    if x.ndim == 2:
        return direction.weight @ x.to(torch.float64).mT + direction.bias[:, None]
    return (x.to(torch.float64) @ direction.weight.unsqueeze(-1)).squeeze(-1) + direction.bias[:, None]
