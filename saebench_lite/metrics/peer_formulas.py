"""Formulas of other benchmarks that a profile asks for, batch by batch. Pure; restated from what their programs do.

SAEBench 0.6.0 (Karvonen et al., arXiv:2503.09532), core; sae-probes 0.4.2 (Kantamneni et al., arXiv:2502.16681). What
is wrong with a formula, and what to use in its place, stands in docs/parity.md.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def uncentred_variance(size: float, sizes: Sequence[float], d: int) -> float:
    """SAEBench's variance of one batch, size - (mean of sizes / d)²: a scalar where the mean vector was meant.

    size: mean |x|² of the batch; sizes: those of all batches; d: width. With it as weight, the mean over batches of
    1 - error / variance is SAEBench's explained variance.
    """
    return size - (sum(sizes) / len(sizes) / d) ** 2


def legacy_terms(x: Tensor, x_hat: Tensor) -> Tensor:
    """1 - |x - x_hat|² / |x - mean|² of each token of one batch. x, x_hat [tokens, d] -> [tokens]."""
    return 1 - (x - x_hat).square().sum(-1) / (x - x.mean(0)).square().sum(-1).clamp(min=1e-300)


def saebench_mse(sse: float, tokens: int) -> float:
    """Mean squared error of a token, once more divided by the batch's tokens; sse summed over the batch."""
    return sse / tokens / tokens


def weighted_f1(predicted: Tensor, labels: Tensor) -> float:
    """F1 of both classes, weighted by their size (sae-probes). predicted, labels [n] bool."""
    total = 0.0
    for guess, truth in ((predicted, labels), (~predicted, ~labels)):
        hits = (guess & truth).sum()
        total += (truth.sum() * 2 * hits / (guess.sum() + truth.sum()).clamp(min=1)).item()
    return total / len(labels)
