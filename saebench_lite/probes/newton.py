"""Newton's method for many L2 logistic regressions at once, in the type of their columns.

Second derivatives run near the machine's matrix speed only while a problem's columns stay in the processor's cache, so
a batch goes through in small groups, and a problem leaves its group as soon as it is solved: a batch does not take as
many steps as its slowest member.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from saebench_lite.probes.curvature import SecondDerivatives

CACHE = 1 << 22
"Bytes of columns in a group on a CPU."
CACHE_GPU = 1 << 28
MATRICES = 16
"Caches that second derivatives of problems on shared columns may fill."
WHOLE = 8
"Caches that a group's columns may fill before they are reduced to a basis."
HALVINGS = 29
"Of a Newton step, at most."
NOISE = 500
"Of an objective, in units of its type's precision: what rounding may add, by which a step has not moved it."


def groups(rows: Sequence[int], x: Tensor, *, reduced: bool = False, shared: bool = False) -> list[slice]:
    """Problems in slices whose float64 columns fit the processor's cache, at least one problem each.

    rows: training rows of each problem, descending. x [., n, k] or [n, k]: gives width and device. reduced: problems
    with fewer rows than columns are solved in as many columns; a group then takes at most `WHOLE` caches before that.
    shared: all problems have the same columns; a row's labels and weights, and second derivatives, fill the cache.
    """
    cache, k = CACHE_GPU if x.is_cuda else CACHE, x.shape[-1]
    out, low = [], 0
    while low < len(rows):
        n = max(1, rows[low])
        room = cache // (8 * n * (k + 1))
        if shared:
            room = min(cache // (8 * n), MATRICES * cache // (8 * (k + 1) ** 2))
        if reduced and n < k:
            room = min(cache // (8 * n * (n + 1)), WHOLE * room)
        high = min(low + max(1, room), len(rows))
        out.append(slice(low, high))
        low = high
    return out


@torch.no_grad()
def minimise(
    x: Tensor,
    y: Tensor,
    weight: Tensor,
    start: Tensor,
    limit: Tensor,
    steps: int,
    share: float = 0.0,
    ridge: Tensor | None = None,
) -> Tensor:
    """Coefficients [b, k] that minimise sum_i weight_i log(1 + exp(-s_i x_i . w)) + sum_j ridge_j w_j^2 / 2.

    Args:
        x: columns [b, k, n], or [1, k, n] shared by all problems.
        y: labels 0 or 1, in x's type. [b, n]
        weight: of each row in the loss. [b, n]
        start: coefficients to begin with. [b, k]
        limit: a problem is solved when no entry of its gradient exceeds it. [b]
        steps: of Newton's method, at most.
        share: or this share of its first gradient's largest entry.
        ridge: penalties [b, k]; by default 1 for all coefficients but the last.

    Steps are halved until the objective falls by a share of what the slope promises (Armijo). A problem that no step by
    second derivatives of its own place moves any more is given up where it stands.
    """
    if ridge is None:
        ridge = x.new_ones(len(y), x.shape[1])
        ridge[:, -1] = 0.0
    w, out, left = start, start.clone(), torch.arange(len(y), device=x.device)
    second, margin = SecondDerivatives(x, ridge), margins(x, w)
    value = _objective(w, margin, y, weight, ridge)
    going, moved = (torch.ones_like(value, dtype=torch.bool) for _ in range(2))
    size, was = torch.full_like(value, torch.inf), None
    for step in range(steps):
        p = torch.sigmoid(margin)
        gradient = gradients(second.x, weight * (p - y)) + second.ridge * w
        before, size = size, gradient.abs().amax(-1)
        if step == 0:
            limit = torch.maximum(limit, share * size)
        if was is not None:
            second.learn(w - was[0], gradient - was[1])
        going &= (size > limit) & (moved | ~second.fresh | (size < before / 2))
        if not going.all():
            out[left] = w
            if not going.any():
                return out
            second.keep(going)
            state = (w, margin, value, p, gradient, before, size, y, weight, limit, left)
            w, margin, value, p, gradient, before, size, y, weight, limit, left = (t[going] for t in state)
        second.renew(size / before, weight * p * (1 - p))
        direction, was = second.solve(gradient), (w, gradient)
        slope = (gradient * direction).sum(-1)
        trial, trial_margin, trial_value = _searched(second, w, direction, slope, value, y, weight)
        slack = noise(value)
        down, moved = trial_value <= value + slack, value - trial_value > slack
        going = down | ~second.fresh
        w, margin = torch.where(down[:, None], trial, w), torch.where(down[:, None], trial_margin, margin)
        value = torch.where(down, trial_value, value)
    out[left] = w
    return out


def _searched(
    at: SecondDerivatives, w: Tensor, direction: Tensor, slope: Tensor, value: Tensor, y: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Coefficients after the longest of the halved steps from w against `direction` that is good enough, as `_trial`.

    slope [b]: of the objective along `direction`; value [b]: of the objective at w.
    """
    length = torch.ones_like(value)
    trial = _trial(at.x, w - direction, y, weight, at.ridge)
    for _ in range(HALVINGS):
        bad = trial[2] > value - 1e-4 * length * slope + noise(value)
        if not bad.any():
            break
        length = torch.where(bad, length / 2, length)
        trial = _trial(at.x, w - length[:, None] * direction, y, weight, at.ridge)
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
