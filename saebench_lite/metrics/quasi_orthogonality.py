"""Norms of codes against norms of activations, and what quasi-orthogonal directions would make of them. Pure functions.

With unit directions d_i and activations f_i >= 0, z = sum_i f_i d_i has |z|² = |f|² + sum over i != j of
f_i f_j d_i.d_j, so if no two directions have a cosine above eps and a of them are active, | |z|² - |f|² | is at most
eps (a - 1) |f|².

Source: Lee et al., "Evaluating and Designing Sparse Autoencoders by Approximating Quasi-Orthogonality"
(arXiv:2503.24277), which has the number of all directions in the place of a.
"""

from __future__ import annotations

import torch
from torch import Tensor

from saebench_lite.metrics.latents import unit_rows


def activation_norm(f: Tensor, sizes: Tensor, bias: float) -> Tensor:
    """|f~| [t] float64 of f~ = (f_i |w_i| for all latents, |b|): the decoder's bias b counts as one more feature.

    Args:
        f: codes. [t, m]
        sizes: norms |w_i| of the decoder's rows. [m]
        bias: |b|.
    """
    return (f * sizes).double().square().sum(-1).add(bias**2).sqrt()


def least_epsilon(z: Tensor, f: Tensor, terms: Tensor | float) -> Tensor:
    """The least eps [t] with which | |z|² - |f~|² | <= eps terms |f~|² holds; NaN where |f~| or the terms are 0.

    With terms = m - 1 it is the paper's lower bound on quasi-orthogonality (eps-LBO), with 1 the gap of squared norms.

    Args:
        z: norms of activations. [t]
        f: norms of codes, `activation_norm`. [t]
        terms: number of further features that a feature may share a direction with. [t]
    """
    z, f = z.double(), f.double()
    size = f.square() * terms
    return torch.where(size > 0, (z.square() - f.square()).abs() / size, torch.nan)


def largest_cosine(rows: Tensor, block: int) -> float:
    """eps: the largest |cos| of two rows [m, d]; NaN below two rows. Products run in float32, `block` at a time."""
    if len(rows) < 2:
        return float("nan")
    unit, most = unit_rows(rows).float(), 0.0
    for low in range(0, len(unit), block):
        cosines = (unit[low : low + block] @ unit.T).abs_()
        own = torch.arange(len(cosines), device=unit.device)
        cosines[own, own + low] = 0.0
        most = max(most, cosines.max().item())
    return min(most, 1.0)
