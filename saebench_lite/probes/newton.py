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

CACHE = 1 << 21
"Bytes of columns in a group on a CPU."


CACHE_GPU = 1 << 28
WHOLE = 8
"Caches that a group's columns may fill before they are reduced to a basis."
HALVINGS = 29
"Of a Newton step, at most."
KEEP = 0.1
"Share of a gradient that a step on a wide problem may leave before second derivatives are computed anew."
NOISE = 1e-13
"Of an objective: what rounding may add, by which a step has not moved it."
WIDE = 64
"Columns from which Gram matrices are float32: a Newton step need not be exact, the gradient that stops it is."


def groups(rows: Sequence[int], x: Tensor, reduced: bool = False) -> list[slice]:
    """Problems in slices whose float64 columns fit the processor's cache, at least one problem each.

    rows: training rows of each problem, descending. x [., n, k] or [n, k]: gives width and device. reduced: problems
    with fewer rows than columns are solved in as many columns; a group then takes at most `WHOLE` caches before that.
    """
    cache, k = CACHE_GPU if x.is_cuda else CACHE, x.shape[-1]
    out, low = [], 0
    while low < len(rows):
        n = max(1, rows[low])
        room = cache // (8 * n * (k + 1))
        if reduced and n < k:
            room = min(cache // (8 * n * (n + 1)), WHOLE * room)
        high = min(low + max(1, room), len(rows))
        out.append(slice(low, high))
        low = high
    return out


def minimise(
    x: Tensor, y: Tensor, weight: Tensor, start: Tensor, limit: Tensor, steps: int, share: float = 0.0
) -> Tensor:
    """Coefficients [b, k] that minimise sum_i weight_i log(1 + exp(-s_i x_i . w)) + |w without its last entry|^2 / 2.

    Args:
        x: columns [b, k, n], or [1, k, n] shared by all problems.
        y: labels 0 or 1. [b, n]
        weight: of each row in the loss. [b, n]
        start: coefficients to begin with. [b, k]
        limit: a problem is solved when no entry of its gradient exceeds it. [b]
        steps: of Newton's method, at most.
        share: or this share of its first gradient's largest entry.

    Steps are halved until the objective falls by a share of what the slope promises (Armijo). A problem that no step
    moves any more is given up where it stands.
    """
    ridge = x.new_ones(x.shape[1])
    ridge[-1] = 0.0
    w, out, left = start, start.clone(), torch.arange(len(y), device=x.device)
    wide = x.shape[1] >= WIDE
    coarse = x.float() if wide else x
    margin = margins(x, w)
    value = _objective(w, margin, y, weight, ridge)
    going, moved = (torch.ones_like(value, dtype=torch.bool) for _ in range(2))
    size, factor = torch.full_like(value, torch.inf), None
    for step in range(steps):
        p = torch.sigmoid(margin)
        gradient = gradients(x, weight * (p - y)) + ridge * w
        before, size = size, gradient.abs().amax(-1)
        if step == 0:
            limit = torch.maximum(limit, share * size)
        going &= (size > limit) & (moved | (size < before / 2))
        if not going.all():
            out[left] = w
            if not going.any():
                return out
            state = (w, margin, value, p, gradient, before, size, y, weight, limit, left)
            w, margin, value, p, gradient, before, size, y, weight, limit, left = (t[going] for t in state)
            factor = None if factor is None else factor[going]
            x = x[going] if len(x) > 1 else x
            coarse = x if not wide else coarse[going] if len(coarse) > 1 else coarse
        if factor is None or not wide or bool((size > KEEP * before).any()):
            direction, factor = _newton_step(x, coarse, weight * p * (1 - p), ridge, gradient)
        else:
            direction = torch.cholesky_solve(gradient[..., None], factor)[..., 0]
        slope = (gradient * direction).sum(-1)
        trial, trial_margin, trial_value = _searched(x, w, direction, slope, value, y, weight, ridge)
        noise = NOISE * (1 + value.abs())
        going, moved = trial_value <= value + noise, value - trial_value > noise
        w = torch.where(going[:, None], trial, w)
        margin = torch.where(going[:, None], trial_margin, margin)
        value = torch.where(going, trial_value, value)
    out[left] = w
    return out


def _searched(
    x: Tensor, w: Tensor, direction: Tensor, slope: Tensor, value: Tensor, y: Tensor, weight: Tensor, ridge: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Coefficients after the longest of the halved steps from w against `direction` that is good enough, as `_trial`.

    slope [b]: of the objective along `direction`; value [b]: of the objective at w.
    """
    length = torch.ones_like(value)
    trial = _trial(x, w - direction, y, weight, ridge)
    for _ in range(HALVINGS):
        bad = trial[2] > value - 1e-4 * length * slope + 1e-12 * value.abs()
        if not bad.any():
            break
        length = torch.where(bad, length / 2, length)
        trial = _trial(x, w - length[:, None] * direction, y, weight, ridge)
    return trial


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


def gram(x: Tensor, curvature: Tensor) -> Tensor:
    """Sum over rows of curvature * x x^T, [b, k, k]; wide ones in halves, with the lower triangle alone filled in.

    The last column, that of the intercept, goes by itself: of a multiple of 16 the processor makes fuller use.
    """
    weighted = x * curvature[:, None]
    last = x.shape[1] - 1
    if last < WIDE:
        return weighted @ x.mT
    half, out = last // 2, weighted.new_zeros(len(weighted), last + 1, last + 1)
    out[:, :last, :half] = weighted[:, :last] @ x[:, :half].mT
    out[:, half:last, half:last] = weighted[:, half:last] @ x[:, half:last].mT
    out[:, last] = (weighted @ x[:, last, :, None])[..., 0]
    return out


def _newton_step(
    x: Tensor, coarse: Tensor, curvature: Tensor, ridge: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor | None]:
    """(sum_i curvature_i x_i x_i^T + diag(ridge))^-1 gradient [b, k], by Cholesky, and the factors unless one failed.

    Args:
        x: columns. [b or 1, k, n]
        coarse: the same in the precision of the Gram matrix; x's own is used where rounding in `coarse` left one that
            is not definite, and elimination where that does not help.
        curvature: of each row. [b, n]
        ridge: added to the diagonal. [k]
        gradient: right-hand sides. [b, k]
    """
    factor, failed, hessian = _cholesky(coarse, curvature, ridge)
    if failed.any() and coarse.dtype != x.dtype:
        factor, failed, hessian = _cholesky(x, curvature, ridge)
    if failed.any():
        return torch.linalg.solve(hessian.tril() + hessian.tril(-1).mT, gradient[..., None])[..., 0], None
    return torch.cholesky_solve(gradient[..., None], factor)[..., 0], factor


def _cholesky(x: Tensor, curvature: Tensor, ridge: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cholesky factors, which of them failed, and the matrices (lower triangles)."""
    hessian = gram(x, curvature.to(x.dtype)).to(ridge.dtype)
    hessian.diagonal(dim1=-2, dim2=-1).add_(ridge + 1e-10)
    return *torch.linalg.cholesky_ex(hessian), hessian
