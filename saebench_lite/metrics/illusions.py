"""Whether a latent chosen for a concept is one: precision against recall, its family's size, and three tokens' share.

Pure functions. A latent whose strongest texts all show a concept seems to be its detector; that it misses most texts of
the concept (splitting, absorption), fires as well on texts that only look alike, or fires on a few words whatever they
stand for, does not show there (Bolukbasi et al., arXiv:2104.07143; Chanin et al., arXiv:2409.14507; arXiv:2601.05679).
"""

from __future__ import annotations

import torch
from torch import Tensor


def rate_over(scores: Tensor, threshold: float) -> float:
    """Share of the scores [n] above a threshold; NaN without any."""
    return (scores > threshold).double().mean().item() if len(scores) else float("nan")


def precision_at(hit: float, false_alarm: float, prevalence: float) -> float:
    """Precision where a share `prevalence` of the texts is positive, from rates on any mix; NaN where nothing fires."""
    true, false = prevalence * hit, (1 - prevalence) * false_alarm
    return true / (true + false) if true + false > 0 else float("nan")


def family_size(columns: Tensor, positive: Tensor, false_alarm: float, recall: float) -> int:
    """The fewest latents, taken greedily, of which one fires on a share `recall` of the positives.

    A latent fires where its code is above 0 and above the level that a share `false_alarm` of the negatives exceeds at
    most. Taken next is the latent that fires on most positives not covered yet, of equals the first. One more than
    there are latents where all together fall short.

    Args:
        columns: codes of candidate latents. [n, j]
        positive: labels. [n] bool
        false_alarm: of each latent, at most.
        recall: of the family.
    """
    negatives = columns[~positive].sort(0, descending=True).values
    level = negatives[int(false_alarm * len(negatives))] if len(negatives) else columns.new_zeros(columns.shape[1])
    fires = columns[positive] > level.clamp(min=0.0)
    open_, needed = torch.ones(len(fires), dtype=torch.bool, device=fires.device), recall * len(fires)
    for size in range(1, columns.shape[1] + 1):
        gains = fires[open_].sum(0)
        open_ &= ~fires[:, int(gains.argmax())]
        if len(fires) - int(open_.sum()) >= needed:
            return size
    return columns.shape[1] + 1


def injected_share(injected: float, neutral: float, concept: float) -> float:
    """(injected - neutral) / (concept - neutral) of mean strengths, between 0 and 1; NaN where concept <= neutral."""
    if not concept > neutral:
        return float("nan")
    return min(1.0, max(0.0, (injected - neutral) / (concept - neutral)))
