"""Newton's method for many L2 logistic regressions at once, in the type of their columns.

The cost is that of the weighted Gram matrices, 2 n k^2 operations a step and problem, so that they are computed in
float32 and kept while steps by them are good. They run near the machine's matrix speed only while a problem's columns
stay in the processor's cache, so a batch goes through in small groups, and a problem leaves its group as soon as it is
solved: a batch does not take as many steps as its slowest member.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

CACHE = 1 << 22
"Bytes of columns in a group on a CPU."
CACHE_GPU = 1 << 28
CORE = 1 << 19
"Bytes of columns of which a core computes Gram matrices at a time on a CPU."
WHOLE = 8
"Caches that a group's columns may fill before they are reduced to a basis."
HALVINGS = 29
"Of a Newton step, at most."
KEEP = 0.1
"Share of a gradient that a step may leave before second derivatives are computed anew."
NOISE = 500
"Of an objective, in units of its type's precision: what rounding may add, by which a step has not moved it."
NARROW = 16
"Columns up to which Gram matrices are in the type of the columns."
WIDE = 64
"Columns from which Gram matrices are computed in halves."


def groups(rows: Sequence[int], x: Tensor, *, reduced: bool = False, shared: bool = False) -> list[slice]:
    """Problems in slices whose float64 columns fit the processor's cache, at least one problem each.

    rows: training rows of each problem, descending. x [., n, k] or [n, k]: gives width and device. reduced: problems
    with fewer rows than columns are solved in as many columns; a group then takes at most `WHOLE` caches before that.
    shared: all problems have the same columns, and only their labels and weights differ.
    """
    cache, k = CACHE_GPU if x.is_cuda else CACHE, 0 if shared else x.shape[-1]
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
        y: labels 0 or 1, in x's type. [b, n]
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
    coarse = x.float() if x.shape[1] > NARROW else x
    margin = margins(x, w)
    value = _objective(w, margin, y, weight, ridge)
    going, moved = (torch.ones_like(value, dtype=torch.bool) for _ in range(2))
    size, factor = torch.full_like(value, torch.inf), x.new_empty(0, x.shape[1], x.shape[1])
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
            factor = factor[going] if len(factor) else factor
            if len(x) > 1:
                same, x = coarse is x, x[going]
                coarse = x if same else coarse[going]
        old = size > KEEP * before
        if not len(factor):
            factor = _factors(x, coarse, weight * p * (1 - p), ridge)
        elif old.any():
            which = slice(None) if len(x) == 1 else old
            factor[old] = _factors(x[which], coarse[which], (weight * p * (1 - p))[old], ridge)
        direction = torch.cholesky_solve(gradient[..., None], factor)[..., 0]
        slope = (gradient * direction).sum(-1)
        trial, trial_margin, trial_value = _searched(x, w, direction, slope, value, y, weight, ridge)
        slack = noise(value)
        going, moved = trial_value <= value + slack, value - trial_value > slack
        w, margin = torch.where(going[:, None], trial, w), torch.where(going[:, None], trial_margin, margin)
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
        bad = trial[2] > value - 1e-4 * length * slope + noise(value)
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


def noise(value: Tensor) -> Tensor:
    """What rounding may add to objectives; a step that lowers one by less has not moved it."""
    return NOISE * torch.finfo(value.dtype).eps * (1 + value.abs())


def margins(x: Tensor, w: Tensor) -> Tensor:
    """x . w of every row: x [b or 1, k, n], w [b, k] -> [b, n]."""
    return w @ x[0] if len(x) == 1 else (w[:, None] @ x)[:, 0]


def gradients(x: Tensor, residual: Tensor) -> Tensor:
    """Sum over rows of residual * x: [b, k]."""
    return residual @ x[0].mT if len(x) == 1 else (residual[:, None] @ x.mT)[:, 0]


def gram(x: Tensor, curvature: Tensor) -> Tensor:
    """Sum over rows of curvature * x x^T, [b, k, k], of wide ones the lower triangle alone.

    As many problems at a time as a core holds. x [b or 1, k, n], curvature [b, n].
    """
    b, (k, n) = len(curvature), x.shape[1:]
    together = b if x.is_cuda else max(1, CORE // (x.itemsize * k * n))
    out = x.new_zeros(b, k, k)
    for low in range(0, b, together):
        part = slice(low, low + together)
        _add_gram(out[part], x if len(x) == 1 else x[part], curvature[part])
    return out


def _add_gram(out: Tensor, x: Tensor, curvature: Tensor) -> None:
    """`gram` into zeros; of a wide one the last column, the intercept's, goes by itself and the others in halves.

    Of a multiple of 16 the processor makes fuller use.
    """
    weighted, last = x * curvature[:, None], x.shape[1] - 1
    if last < WIDE:
        out += weighted @ x.mT
        return
    half = last // 2
    out[:, :last, :half] = weighted[:, :last] @ x[:, :half].mT
    out[:, half:last, half:last] = weighted[:, half:last] @ x[:, half:last].mT
    out[:, last] = (weighted @ x[:, last, :, None])[..., 0]


def _factors(x: Tensor, coarse: Tensor, curvature: Tensor, ridge: Tensor) -> Tensor:
    """Cholesky factors [b, k, k] of sum_i curvature_i x_i x_i^T + diag(ridge), from Gram matrices in float32.

    In x's own type where rounding left a matrix that is not definite; the diagonal is raised where that does not help.

    Args:
        x: columns. [b or 1, k, n]
        coarse: the same in float32. [b or 1, k, n]
        curvature: of each row. [b, n]
        ridge: added to the diagonal. [k]
    """
    factor, failed, hessian = _cholesky(coarse, curvature, ridge)
    if failed.any() and coarse.dtype != x.dtype:
        factor, failed, hessian = _cholesky(x, curvature, ridge)
    lift = torch.finfo(x.dtype).eps * hessian.diagonal(dim1=-2, dim2=-1).amax(-1, keepdim=True)
    while failed.any():
        lift = 10 * lift
        hessian.diagonal(dim1=-2, dim2=-1).add_(torch.where(failed[:, None] > 0, lift, 0.0))
        factor, failed = torch.linalg.cholesky_ex(hessian)
    return factor


def _cholesky(x: Tensor, curvature: Tensor, ridge: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cholesky factors, which of them failed, and the matrices (lower triangles)."""
    hessian = gram(x, curvature.to(x.dtype)).to(ridge.dtype)
    hessian.diagonal(dim1=-2, dim2=-1).add_(ridge + 1e-10)
    return *torch.linalg.cholesky_ex(hessian), hessian
