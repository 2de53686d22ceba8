"""Formulas of other benchmarks, kept for comparison with their published figures. Pure; restated from their papers
and from what their programs do.

SAEBench 0.6.0 (Karvonen et al., arXiv:2503.09532), core; sae-probes 0.4.2 (Kantamneni et al., arXiv:2502.16681). What
is wrong with a formula, and what to use in its place, stands in docs/parity.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def saebench_explained_variance(x: Sequence[Tensor], x_hat: Sequence[Tensor]) -> float:
    """1 - R / (S - q^2), R and S the means over batches of mean |x - x_hat|^2 and mean |x|^2, q = S / d.

    x, x_hat: batches [tokens, d]. q is a scalar where the norm of the mean activation was meant.
    """
    error = _mean_of_means(x, x_hat)
    size = torch.stack([b.double().square().sum(-1).mean() for b in x]).mean().item()
    return 1 - error / (size - (size / x[0].shape[1]) ** 2)


def saebench_explained_variance_legacy(x: Sequence[Tensor], x_hat: Sequence[Tensor]) -> float:
    """Mean over tokens of 1 - |x - x_hat|^2 / |x - mean of the batch|^2: the figure of the published result files."""
    return torch.cat([legacy_terms(a.double(), b.double()) for a, b in zip(x, x_hat, strict=True)]).mean().item()


def legacy_terms(x: Tensor, x_hat: Tensor) -> Tensor:
    """1 - |x - x_hat|^2 / |x - mean|^2 of each token of one batch. x, x_hat [tokens, d] -> [tokens]."""
    return 1 - (x - x_hat).square().sum(-1) / (x - x.mean(0)).square().sum(-1).clamp(min=1e-300)


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


def weighted_f1(said: Tensor, labels: Tensor) -> float:
    """F1 of both classes, weighted by their size (sae-probes). said, labels [n] bool."""
    total = 0.0
    for guess, truth in ((said, labels), (~said, ~labels)):
        hits = (guess & truth).sum()
        total += (truth.sum() * 2 * hits / (guess.sum() + truth.sum()).clamp(min=1)).item()
    return total / len(labels)
