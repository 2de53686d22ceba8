"""The best latent for each true feature, by average precision. Pure functions of codes."""

from __future__ import annotations

import torch
from torch import Tensor

from saebench_lite.metrics.classification import average_precision
from saebench_lite.probes.latent_selection import standardised_differences

CANDIDATES = 8
"Latents of a feature whose average precision is computed: those with the largest standardised differences."


def best_latent_precision(chosen: tuple[Tensor, Tensor], judged: tuple[Tensor, Tensor]) -> Tensor:
    """Average precision of the best latent for each feature, without a threshold at 0. [N] float64

    The latent is chosen on some samples and judged on others, or on the same ones; features must fire in both, and be
    silent in both. At the features' own firing rates.

    Args:
        chosen: codes [n, h] and firing [n, N] bool of the samples on which latents are chosen.
        judged: the same of those on which the chosen ones are judged.
    """
    codes, fires = chosen
    difference = standardised_differences(codes, fires.T.double())
    near = difference.topk(min(CANDIDATES, codes.shape[1])).indices
    out = []
    for feature, latents in enumerate(near):
        best = latents[_precision(*chosen, feature, latents).argmax()]
        out.append(_precision(*judged, feature, best[None])[0])
    return torch.stack(out)


def _precision(codes: Tensor, fires: Tensor, feature: int, latents: Tensor) -> Tensor:
    """Average precision [m] of some latents for one feature."""
    on, table = fires[:, feature], codes[:, latents]
    return average_precision(table[on].T, table[~on].T, on.double().mean().item())
