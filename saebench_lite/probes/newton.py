"""Newton's method for many L2 logistic regressions at once, in float64.

The cost is that of the weighted Gram matrices, 2 n k^2 operations a step and problem, so that wide ones are computed in
float32. They run near the machine's matrix speed only while a problem's columns stay in the processor's cache, so a
batch goes through in small groups, and a problem leaves its group as soon as it is solved: a batch does not take as
many steps as its slowest member.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

CACHE = 1 << 22
"Bytes of columns in a group on a CPU."


CACHE_GPU = 1 << 28
HALVINGS = 29
"Of a Newton step, at most."
WIDE = 64
"""Columns from which Gram matrices are float32, and kept; narrow ones cost less than the steps that older ones add. A
Newton step need not be exact, the gradient that stops it is."""
STALE = 0.05
"Share of the largest curvature by which that of a row may differ from the one that a kept Gram matrix was made of."


class Grams:
    """Weighted Gram matrices of b problems, kept while the curvature of rows stays nearly the same but for a factor.

    Near a solution, and from one strength of the penalty to the next one, it does; a Newton step need not be exact.
    """

    def __init__(self, x: Tensor, problems: int) -> None:
        """Matrices of columns x [b or 1, k, n] for so many problems."""
        self.coarse = x.float() if x.shape[1] >= WIDE else x
        self.keeps, self.problems = x.shape[1] >= WIDE, problems
        self.curvature = x.new_zeros(problems if self.keeps else 0, x.shape[2])
        self.matrix = x.new_zeros(len(self.curvature), x.shape[1], x.shape[1])

    def of(self, x: Tensor, curvature: Tensor, which: Tensor) -> Tensor:
        """Sum over rows of curvature * x x^T for some problems, nearly: [j, k, k] in x's own type.

        Args:
            x: columns of those problems. [j or 1, k, n]
            curvature: of their rows. [j, n]
            which: their places, ascending. [j]
        """
        x = self.coarse if len(which) == self.problems else x.to(self.coarse.dtype)
        if not self.keeps:
            return _gram(x, curvature.to(x.dtype)).to(curvature.dtype)
        old = self.curvature[which]
        factor = curvature.sum(1) / old.sum(1).clamp(min=1e-300)
        apart = (curvature - factor[:, None] * old).abs().amax(1)
        stale = ~(apart <= STALE * curvature.amax(1))
        if stale.any():
            moved, anew = curvature[stale], which[stale]
            columns = x if len(x) == 1 or stale.all() else x[stale]
            self.curvature[anew] = moved
            self.matrix[anew] = _gram(columns, moved.to(x.dtype)).to(curvature.dtype)
            factor = torch.where(stale, 1.0, factor)
        return factor[:, None, None] * self.matrix[which]


def groups(rows: Sequence[int], x: Tensor) -> list[slice]:
    """Problems in slices whose float64 columns fit the processor's cache, at least one problem each.

    rows: training rows of each problem, descending. x [., n, k]: gives width and device.
    """
    room = (CACHE_GPU if x.is_cuda else CACHE) // (8 * (x.shape[-1] + 1))
    out, low = [], 0
    while low < len(rows):
        high = min(low + max(1, room // max(1, rows[low])), len(rows))
        out.append(slice(low, high))
        low = high
    return out


def minimise(
    x: Tensor, y: Tensor, weight: Tensor, start: Tensor, limit: Tensor, steps: int, grams: Grams | None = None
) -> Tensor:
    """Coefficients [b, k] that minimise sum_i weight_i log(1 + exp(-s_i x_i . w)) + |w without its last entry|^2 / 2.

    Args:
        x: columns [b, k, n], or [1, k, n] shared by all problems.
        y: labels 0 or 1. [b, n]
        weight: of each row in the loss. [b, n]
        start: coefficients to begin with. [b, k]
        limit: a problem is solved when no entry of its gradient exceeds it. [b]
        steps: of Newton's method, at most.
        grams: of x, kept from another fit of the same problems.

    Steps are halved until the objective falls by a share of what the slope promises (Armijo).
    """
    ridge = x.new_ones(x.shape[1])
    ridge[-1] = 0.0
    w, out, left = start, start.clone(), torch.arange(len(y), device=x.device)
    grams = grams or Grams(x, len(y))
    margin = margins(x, w)
    value = _objective(w, margin, y, weight, ridge)
    going = torch.ones_like(value, dtype=torch.bool)
    for _ in range(steps):
        p = torch.sigmoid(margin)
        gradient = gradients(x, weight * (p - y)) + ridge * w
        going &= gradient.abs().amax(-1) > limit
        if not going.all():
            out[left] = w
            if not going.any():
                return out
            state = (w, margin, value, p, gradient, y, weight, limit, left)
            w, margin, value, p, gradient, y, weight, limit, left = (t[going] for t in state)
            x = x[going] if len(x) > 1 else x
        curvature = weight * p * (1 - p)
        direction = _newton_step(x, grams.of(x, curvature, left), curvature, ridge, gradient)
        slope = (gradient * direction).sum(-1)
        length = torch.ones_like(value)
        trial, trial_margin, trial_value = _trial(x, w - length[:, None] * direction, y, weight, ridge)
        for _ in range(HALVINGS):
            bad = trial_value > value - 1e-4 * length * slope + 1e-12 * value.abs()
            if not bad.any():
                break
            length = torch.where(bad, length / 2, length)
            trial, trial_margin, trial_value = _trial(x, w - length[:, None] * direction, y, weight, ridge)
        better = trial_value <= value
        going = better & (value - trial_value > 1e-13 * (1 + value.abs()))
        w = torch.where(better[:, None], trial, w)
        margin = torch.where(better[:, None], trial_margin, margin)
        value = torch.where(better, trial_value, value)
    out[left] = w
    return out


def _trial(x: Tensor, w: Tensor, y: Tensor, weight: Tensor, ridge: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Coefficients w [b, k] with their margins [b, n] and objective [b]."""
    margin = margins(x, w)
    return w, margin, _objective(w, margin, y, weight, ridge)


def _objective(w: Tensor, margin: Tensor, y: Tensor, weight: Tensor, ridge: Tensor) -> Tensor:
    loss = torch.nn.functional.softplus(margin) - y * margin
    return (weight * loss).sum(-1) + 0.5 * (ridge * w * w).sum(-1)


def margins(x: Tensor, w: Tensor) -> Tensor:
    """x . w of every row: x [b or 1, k, n], w [b, k] -> [b, n]."""
    return w @ x[0] if len(x) == 1 else (w[:, None] @ x)[:, 0]


def gradients(x: Tensor, residual: Tensor) -> Tensor:
    """Sum over rows of residual * x: [b, k]."""
    return residual @ x[0].mT if len(x) == 1 else (residual[:, None] @ x.mT)[:, 0]


def _gram(x: Tensor, curvature: Tensor) -> Tensor:
    """Sum over rows of curvature * x x^T: [b, k, k]."""
    weighted = x * curvature[:, None]
    return weighted @ x[0].mT if len(x) == 1 else torch.bmm(weighted, x.mT)


def _newton_step(x: Tensor, matrix: Tensor, curvature: Tensor, ridge: Tensor, gradient: Tensor) -> Tensor:
    """(sum_i curvature_i x_i x_i^T + diag(ridge))^-1 gradient [b, k], by Cholesky.

    Args:
        x: columns. [b or 1, k, n]
        matrix: that sum, nearly; it is made of x where this one is not definite, and where that does not help the step
            is found by elimination. [b, k, k]
        curvature: of each row. [b, n]
        ridge: added to the diagonal. [k]
        gradient: right-hand sides. [b, k]
    """
    diagonal = torch.diag(ridge + 1e-10)
    hessian = matrix + diagonal
    factor, failed = torch.linalg.cholesky_ex(hessian)
    if failed.any():
        hessian = _gram(x, curvature) + diagonal
        factor, failed = torch.linalg.cholesky_ex(hessian)
    if failed.any():
        return torch.linalg.solve(hessian, gradient[..., None])[..., 0]
    return torch.cholesky_solve(gradient[..., None], factor)[..., 0]
