"""Formulas of reconstruction and sparsity, as pure functions of activations, reconstructions and codes."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from saebench_lite.metrics.latents import dead_fraction


def row_sums(x: Tensor, x_hat: Tensor) -> dict[str, Tensor]:
    """Per-token quantities [t] in float64, of activations x and reconstructions x_hat [t, d].

    sse: |x - x_hat|²; dot: <x, x_hat>; hat: |x_hat|²; cosine: 0 where either is zero; ratio: |x_hat| / |x|, 1 for a
    zero x.
    """
    x, x_hat = x.double(), x_hat.double()
    xx, hh, xh = x.square().sum(-1), x_hat.square().sum(-1), (x * x_hat).sum(-1)
    norms = (xx * hh).sqrt()
    return {
        "sse": (x - x_hat).square().sum(-1),
        "dot": xh,
        "hat": hh,
        "cosine": torch.where(norms > 0, xh / norms.clamp(min=1e-300), 0.0),
        "ratio": torch.where(xx > 0, (hh / xx.clamp(min=1e-300)).sqrt(), 1.0),
    }


def explained_variance(sse: float, sst: float) -> float:
    """1 - sse / sst, from sums of squares about the reconstruction and about the mean; NaN where nothing varies."""
    return 1 - sse / sst if sst else float("nan")


def reconstruction_figures(batches: Iterable[tuple[Tensor, Tensor, Tensor]], mean: Tensor) -> dict[str, float]:
    """tokens, l0, explained_variance (pooled, about `mean` [d]) and dead_fraction of batches (x, x_hat, f).

    x, x_hat [t, d], f [t, m]; sums run in float64. ValueError where there is no batch.
    """
    tokens, sse, sst, fired = 0, 0.0, 0.0, None
    for x, x_hat, f in batches:
        exact = x.double()
        tokens += len(x)
        sse += (exact - x_hat.double()).square().sum().item()
        sst += (exact - mean.to(x.device, torch.float64)).square().sum().item()
        active = (f != 0).sum(0, dtype=torch.float64)
        fired = active if fired is None else fired + active
    if fired is None:
        raise ValueError("there are no activations to measure on")
    return {
        "tokens": tokens,
        "l0": fired.sum().item() / tokens,
        "explained_variance": explained_variance(sse, sst),
        "dead_fraction": dead_fraction(fired, tokens),
    }
