"""Codes inferred on a given dictionary: non-negative lasso by FISTA, and least squares on a given support.

Source: Beck & Teboulle 2009 (SIAM J. Imaging Sci. 2(1)), with the restart of O'Donoghue & Candes 2015. Pure functions.
"""

from __future__ import annotations

import torch
from torch import Tensor

BISECTIONS = 14


def fista(x: Tensor, rows: Tensor, penalty: float, steps: int, support: Tensor | None = None) -> Tensor:
    """Codes f >= 0 [t, m] that nearly minimise |x - f W|² / 2 + penalty * sum f.

    Accelerated proximal gradient steps of 1 / L, L the largest eigenvalue of W W^T; a row's momentum restarts where it
    points uphill.

    Args:
        x: activations less the decoder's bias. [t, d]
        rows: W, unit rows (a zero row never fires). [m, d]
        penalty: of the sum of codes.
        steps: iterations.
        support: codes outside of it stay 0. [t, m] bool
    """
    size = 1 / torch.linalg.eigvalsh(rows.T @ rows)[-1].clamp(min=1e-12)
    f = x.new_zeros(len(x), len(rows))
    y, momentum = f, x.new_ones(len(x), 1)
    for _ in range(steps):
        new = (y + size * ((x - y @ rows) @ rows.T - penalty)).relu_()
        if support is not None:
            new = new * support
        uphill = ((y - new) * (new - f)).sum(1, keepdim=True) > 0
        before = torch.where(uphill, 1.0, momentum)
        momentum = (1 + (1 + 4 * before.square()).sqrt()) / 2
        y = new + torch.where(uphill, 0.0, (before - 1) / momentum) * (new - f)
        f = new
    return f


def penalty_for(x: Tensor, rows: Tensor, l0: float, steps: int) -> float:
    """The penalty with which `fista` has a mean L0 nearest to `l0` on x [t, d], by bisection of its logarithm.

    Args:
        x: activations less the decoder's bias. [t, d]
        rows: unit rows. [m, d]
        l0: mean number of codes that are not 0; above 0.
        steps: iterations of each try.
    """
    most = (x @ rows.T).max().clamp(min=1e-12).log().item()
    low, high = most - 12.0, most
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        found = (fista(x, rows, float(torch.tensor(middle).exp()), steps) > 0).sum(1).double().mean().item()
        low, high = (middle, high) if found > l0 else (low, middle)
    return float(torch.tensor((low + high) / 2).exp())
