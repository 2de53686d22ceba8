"""Effects of interventions on next-token predictions. Pure functions."""

from __future__ import annotations

import torch
from torch import Tensor

LEAST = 1e-12
"Least effect that enters a ratio: below it a divergence is rounding, and 0 has no logarithm."


def kl_divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p || q) in nats of logits [..., V], not negative, float64 sums of float32 terms. [...]"""
    a, b = p.float().log_softmax(-1), q.float().log_softmax(-1)
    return (a.exp() * (a - b)).sum(-1, dtype=torch.float64).clamp(min=0.0)


def effect_per_norm(divergence: Tensor, norm: Tensor) -> Tensor:
    """Divergence over the norm of the perturbation that caused it; 0 where nothing was changed. Both [...]"""
    norm = norm.double()
    return torch.where(norm > 0, divergence.double() / torch.where(norm > 0, norm, 1.0), 0.0)


def hodges_lehmann_log2(a: Tensor, b: Tensor) -> float:
    """log2 of the Hodges-Lehmann ratio of effects a [n] to b [m]: the median of log2 a_i - log2 b_j over all pairs.

    1: twice the effect, 0: the same, whatever a few very large ones are. Effects below `LEAST` count as `LEAST`; of an
    even number of pairs the two middle ones are averaged; NaN where either has none.

    Source: Hodges & Lehmann 1963, on the logarithms.
    """
    if not len(a) or not len(b):
        return float("nan")
    x, y = (v.double().clamp(min=LEAST).log2() for v in (a, b))
    return (x[:, None] - y[None, :]).flatten().quantile(0.5).item()


def targeted_share(target: float, collateral: float) -> float:
    """Share of an effect that falls where it should, target / (target + collateral); NaN where there is no effect.

    Both are means a token, not negative, so that .5 is an effect of the same size in both places.
    """
    total = target + collateral
    return target / total if total > 0 else float("nan")
