"""Coalition matching (FBMP): a concept as the union of a few latents that fire.

"Matching Pursuit in Boolean space" of arXiv:2606.24716: codes are binarised, latents are added greedily by F-beta of
what is not covered yet, as long as the F1 of the union rises.
"""

from __future__ import annotations

import torch
from torch import Tensor

BETA, MOST = 0.5, 3
"The paper's recommended values."


def f_beta(fires: Tensor, y: Tensor, beta: float) -> Tensor:
    """F-beta [m] of binary columns fires [n, m] against labels y [n]; 0 where nothing is hit."""
    hits = y.double() @ fires.double()
    weight = beta**2
    return (1 + weight) * hits / (weight * y.sum() + fires.sum(0)).clamp(min=1)


def coalition(fires: Tensor, y: Tensor, beta: float = BETA, most: int = MOST) -> list[int]:
    """Columns of fires [n, m] bool whose union stands for labels y [n] bool, in the order in which they were added.

    Each is the first of the largest F-beta against the labels not covered yet; a column that does not strictly raise
    the union's F1 ends the search.

    Args:
        fires: which latents fire in which row. [n, m] bool
        y: labels. [n] bool
        beta: below 1 precision counts for more than recall.
        most: columns at most.
    """
    left, union, best = y.clone(), torch.zeros_like(y), 0.0
    chosen: list[int] = []
    for _ in range(most):
        column = int(f_beta(fires, left, beta).argmax())
        joined = union | fires[:, column]
        score = float(f_beta(joined[:, None], y, 1.0))
        if score <= best:
            break
        chosen.append(column)
        left, union, best = left & ~fires[:, column], joined, score
    return chosen
