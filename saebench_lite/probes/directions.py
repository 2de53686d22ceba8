"""Directions fitted to positives alone, and what they need to serve as probes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from saebench_lite.api.probe_types import Direction


def principal_direction(x: Tensor) -> Tensor:
    """First principal component [d] of rows x [n, d], centred, unit norm; its sign means nothing."""
    centred = x.double() - x.double().mean(0)
    if len(x) < x.shape[1]:  # the smaller of the two Gram matrices
        direction = torch.linalg.eigh(centred @ centred.T).eigenvectors[:, -1] @ centred
    else:
        direction = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -1]
    return direction / direction.norm().clamp(min=1e-300)


def oriented(x: Tensor, y: Tensor, train_mask: Tensor, directions: Sequence[Tensor]) -> Direction:
    """Probes along the directions, the positives' mean on the high side, the threshold half-way between the means.

    Args:
        x: rows. [n, d] float64
        y: labels. [problems, n]
        train_mask: training rows. [problems, n]
        directions: one a problem. [d] each
    """
    weight = torch.stack(list(directions))
    positive, negative = (train_mask.bool() & y.bool()).double(), (train_mask.bool() & ~y.bool()).double()
    margin = weight @ x.T
    high = (positive * margin).sum(1) / positive.sum(1)
    low = (negative * margin).sum(1) / negative.sum(1)
    sign = torch.where(high < low, -1.0, 1.0)
    return Direction(weight * sign[:, None], -sign * (high + low) / 2)
