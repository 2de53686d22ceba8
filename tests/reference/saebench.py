"""SAEBench 0.6.0's core formulas (Karvonen et al., arXiv:2503.09532), restated from what its program does.

x, x_hat: batches [tokens, d]. What is wrong with a formula, and what to use in its place, stands in docs/parity.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def saebench_explained_variance(x: Sequence[Tensor], x_hat: Sequence[Tensor]) -> float:
    """1 - R / (S - q^2), R and S the means over batches of mean |x - x_hat|^2 and mean |x|^2, q = S / d.

    q is a scalar where the norm of the mean activation was meant.
    """
    error = _mean_of_means(x, x_hat)
    size = torch.stack([b.double().square().sum(-1).mean() for b in x]).mean().item()
    return 1 - error / (size - (size / x[0].shape[1]) ** 2)


def saebench_explained_variance_legacy(x: Sequence[Tensor], x_hat: Sequence[Tensor]) -> float:
    """Mean over tokens of 1 - |x - x_hat|^2 / |x - mean of the batch|^2: the figure of the published result files."""
    ratios = []
    for a, b in zip(x, x_hat, strict=True):
        a, b = a.double(), b.double()
        ratios.append(1 - (a - b).square().sum(-1) / (a - a.mean(0)).square().sum(-1))
    return torch.cat(ratios).mean().item()


def saebench_mse(x: Sequence[Tensor], x_hat: Sequence[Tensor]) -> float:
    """Mean over tokens of |x - x_hat|^2 divided by the number of tokens of the token's batch."""
    terms = [(a.double() - b.double()).square().sum(-1) / len(a) for a, b in zip(x, x_hat, strict=True)]
    return torch.cat(terms).mean().item()


def saebench_relative_bias(x: Sequence[Tensor], x_hat: Sequence[Tensor]) -> float:
    """Mean over batches of mean |x_hat|^2 / mean <x, x_hat>."""
    ratios = [b.double().square().sum() / (a.double() * b.double()).sum() for a, b in zip(x, x_hat, strict=True)]
    return torch.stack(ratios).mean().item()


def _mean_of_means(x: Sequence[Tensor], x_hat: Sequence[Tensor]) -> float:
    errors = [(a.double() - b.double()).square().sum(-1).mean() for a, b in zip(x, x_hat, strict=True)]
    return torch.stack(errors).mean().item()
