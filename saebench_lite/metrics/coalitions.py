"""Coalition matching (FBMP): a concept as the union of a few latents that fire, and what an edit does to it.

"Matching Pursuit in Boolean space" of arXiv:2606.24716: codes are binarised, latents are added greedily by F-beta of
what is not covered yet, as long as the F1 of the union rises. Its formula prints AND over a coalition, its algorithm
and text have OR, which is what stands here.
"""

from __future__ import annotations

from collections.abc import Sequence

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


def union(fires: Tensor, chosen: Sequence[int]) -> Tensor:
    """Whether any of the columns `chosen` of fires [n, m] bool fires: [n] bool; nowhere for an empty coalition."""
    return fires[:, list(chosen)].any(1)


def swap_scores(
    fires: Tensor, pairs: Tensor, adds: Tensor, removes: Tensor, untouched: Tensor
) -> tuple[Tensor, Tensor]:
    """TAPA and leakage of each pair of texts that differ in an attribute. [p] float64 each

    With d_c = +1 where the coalition of concept c begins to fire from the first text to the second, -1 where it falls
    silent, 0 where neither: TAPA = d_added - d_removed, from -2 to 2 (a concept that there is not has d = 0); leakage =
    mean |d_c| over the concepts of attributes that the pair leaves as they are, NaN without any.

    Args:
        fires: whether the coalition of a concept fires in a text. [texts, concepts] bool
        pairs: first and second text of each pair. [p, 2] long
        adds: the concept that the second text has and the first has not, -1 for none. [p] long
        removes: the concept that the first text has and the second has not, -1 for none. [p] long
        untouched: concepts of attributes that are the same in both texts. [p, concepts] bool

    Source: arXiv:2606.24716, TAPAScore and its leakage check.
    """
    change = fires[pairs[:, 1]].double() - fires[pairs[:, 0]].double()
    padded = torch.cat([change, change.new_zeros(len(change), 1)], 1)  # the last column stands for -1, no concept
    added, removed = (padded.gather(1, (c % padded.shape[1])[:, None])[:, 0] for c in (adds, removes))
    leakage = (change.abs() * untouched).sum(1) / untouched.sum(1)
    return added - removed, leakage
