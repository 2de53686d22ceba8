"""Small networks trained side by side: q of them on the same rows, each on its own mask and with its own decay."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


@torch.enable_grad()
def train_side_by_side(
    weights: Sequence[Tensor],
    logits: Callable[[], Tensor],
    y: Tensor,
    train_mask: Tensor,
    shrinkage: Sequence[tuple[Tensor, Tensor]],
    *,
    steps: int,
    rate: float,
) -> None:
    """Trains weights in place by full-batch Adam on each network's mean cross-entropy, with a decoupled decay.

    Args:
        weights: of all networks together; they require gradients.
        logits: of all networks for all rows [q, n], as the weights are now.
        y: labels. [n]
        train_mask: which rows each network learns from. [q, n] bool
        shrinkage: (weights, factors) multiplied after each step: 1 - rate * decay of each network.
        steps: of Adam.
        rate: of Adam.
    """
    target = y.to(weights[0]).expand(len(train_mask), -1)
    row_weight = train_mask.to(weights[0]) / train_mask.sum(-1, keepdim=True)
    optimiser = torch.optim.Adam(list(weights), lr=rate)
    for _ in range(steps):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits(), target, row_weight, reduction="sum")
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            for weight, factor in shrinkage:
                weight.mul_(factor)
