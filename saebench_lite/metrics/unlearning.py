"""How far an edit takes away what a model knows of one domain and leaves the rest. Pure; references in the tests."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def remaining(accuracy: Tensor, before: Tensor, chance: float) -> Tensor:
    """Share of the accuracy above chance that an edit leaves: max(0, (accuracy - chance) / (before - chance)).

    0: at chance or below, 1: as before the edit; NaN where there was nothing above chance. [...] float64

    Source: Khoriaty et al., arXiv:2503.11127 (there with `chance` 1/4).
    """
    gap = before.double() - chance
    share = (accuracy.double() - chance) / gap
    return torch.where(gap > 0, share.clamp(min=0), torch.nan)


def alignment(retained: Tensor, remembered: Tensor) -> Tensor:
    """retained (1 - remembered), the score of an edit: 1 forgets all and harms nothing, 0 forgets nothing or harms all.

    Both are shares as of `remaining`, those above 1 taken as 1. Source: as there.
    """
    return retained.clamp(max=1) * (1 - remembered.clamp(max=1))


def sparse_on_retain(forget: Tensor, retain: Tensor, most: float, n: int) -> Tensor:
    """The n latents that fire most on the forget texts, of those that fire on a share below `most` of retain tokens.

    Fewer where fewer fire at all; of equal shares the lower index comes first.

    Args:
        forget: share of tokens to forget on which each latent fires. [m]
        retain: share of tokens to retain on which it does. [m]
        most: a latent with this share of tokens to retain, or more, is left out.
        n: latents at most.

    Source: Farrell et al., arXiv:2410.19278; SAEBench, arXiv:2503.09532 (thresholds 0.001 and 0.01).
    """
    share = torch.where(retain < most, forget, 0.0)
    order = share.argsort(descending=True, stable=True)[:n]
    return order[share[order] > 0]


def alike_in_rate(rate: np.ndarray, chosen: np.ndarray, nearest: int, generator: np.random.Generator) -> np.ndarray:
    """For each chosen latent another one of nearly its firing rate: drawn from the `nearest` in log rate, none twice.

    Latents that are chosen or never fire are not drawn; fewer come back where they run out.

    Args:
        rate: share of tokens on which each latent fires. [m]
        chosen: latents. [k]
        nearest: how many are drawn from.
        generator: of the draws.
    """
    free = rate > 0
    free[chosen] = False
    drawn: list[int] = []
    for latent in chosen:
        left = np.flatnonzero(free)
        if not len(left):
            break
        gap = np.abs(np.log(rate[left]) - np.log(max(rate[latent], 1e-300)))
        pick = int(generator.choice(left[np.argsort(gap, kind="stable")[:nearest]]))
        free[pick] = False
        drawn.append(pick)
    return np.array(drawn, dtype=np.int64)
