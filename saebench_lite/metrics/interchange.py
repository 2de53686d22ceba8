"""Formulas of interchange interventions: what is swapped between two activations, and what that scores.

Source: RAVEL, Huang et al., arXiv:2402.17700; distributed alignment search, Geiger et al., arXiv:2303.02536.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


def swap_subspace(x: Tensor, source: Tensor, basis: Tensor) -> Tensor:
    """x [n, d] with its part in a subspace replaced by that of source [n, d]. basis [d, r] has orthonormal columns."""
    return x + ((source - x) @ basis) @ basis.T


def between_share(values: Tensor, group: Tensor) -> Tensor:
    """Share of each column's variance that lies between groups (eta squared): [m] float64, 0 for a constant column.

    values [n, m]; group [n] long, the group of each row.
    """
    values = values.double()
    groups, place = group.unique(return_inverse=True)
    size = torch.bincount(place, minlength=len(groups)).to(values)
    means = values.new_zeros(len(groups), values.shape[1]).index_add_(0, place, values) / size[:, None]
    centre = values.mean(0)
    between = (size[:, None] * (means - centre).square()).sum(0)
    total = (values - centre).square().sum(0)
    return torch.where(total > 0, between / total.clamp(min=1e-300), 0.0)


def group_mean_basis(x: Tensor, group: Tensor) -> Tensor:
    """Orthonormal basis [d, r] of the differences of group means, r at most groups - 1. x [n, d]; group [n] long

    The span of difference-in-means directions of all groups; directions of less than 1e-6 of the largest are left out.
    """
    x = x.double()
    groups, place = group.unique(return_inverse=True)
    size = torch.bincount(place, minlength=len(groups)).to(x)
    means = x.new_zeros(len(groups), x.shape[1]).index_add_(0, place, x) / size[:, None]
    _, s, v = torch.linalg.svd(means - means.mean(0), full_matrices=False)
    return v[s > 1e-6 * s[0]].T if s[0] > 0 else v[:0].T


class Disentangle(NamedTuple):
    """How far an edit moves one attribute alone."""

    cause: float
    "Share of swaps after which the model gives the source's value."
    isolate: float
    "Share of swaps after which the model still gives the base's value of another attribute."
    disentangle: float
    "Mean of both; 0.5 where nothing is edited, or everything."
    error: float
    "Standard error of `disentangle` under other trials, by the binomial formula."


def disentangle(cause: Tensor, isolate: Sequence[Tensor]) -> Disentangle:
    """The scores of an attribute: means over trials, for `isolate` over trials and then over the other attributes.

    cause [n] bool; isolate: a tensor of trials [n] bool for each other attribute. NaN without trials of either kind.
    """
    first = cause.double().mean().item()
    others = [trials.double().mean().item() for trials in isolate if len(trials)]
    second = sum(others) / len(others) if others else float("nan")
    variance = first * (1 - first) / max(1, len(cause))
    spread = (p * (1 - p) / len(t) for p, t in zip(others, (t for t in isolate if len(t)), strict=True))
    variance += sum(spread) / max(1, len(others)) ** 2
    return Disentangle(first, second, (first + second) / 2, 0.5 * variance**0.5)
