"""What can be wrong with single latents: codes of the wrong size, doubles of other latents, meters of the input's norm.

Pure functions. With r = x - x_hat, decoder rows d_i and codes f_i, least squares on latent i alone, all others as they
are, would multiply its codes by 1 + sum f_i <r, d_i> / (sum f_i² |d_i|²): 1 where their size is right, above 1 where
they are shrunken (the shrinkage of L1 penalties: Wright & Sharkey 2024; Rajamanoharan et al., arXiv:2404.16014). A code
that follows the norm of the input says how large it is, not what is in it (dense latents: arXiv:2506.15679).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

SHRUNKEN = 1.1
"Multiple from which codes count as shrunken: a tenth of their least-squares size is missing or more."
DUPLICATE = 0.9
"Cosine from which two decoder rows count as near duplicates."
NORM_DETECTOR = 0.5
"Correlation with the norm from which a latent counts as its detector: a quarter of its variance."
AT_ONCE = 1 << 22
"Numbers of latents' summed residuals that are in memory together."


class Entries(NamedTuple):
    """Codes of t tokens that are not zero."""

    values: Tensor
    "[nnz]"
    tokens: Tensor
    "[nnz] long"
    latents: Tensor
    "[nnz] long"


class LatentSums(NamedTuple):
    """Sums over tokens for each latent. [m] float64 each"""

    code: Tensor
    "f"
    square: Tensor
    "f²"
    with_norm: Tensor
    "f |x|"
    along: Tensor
    "f <x - x_hat, d>"


def dense_sums(f: Tensor, norms: Tensor, residual: Tensor, decoder: Tensor) -> LatentSums:
    """Sums over codes f [t, m].

    Args:
        f: codes. [t, m]
        norms: |x|. [t]
        residual: x - x_hat. [t, d]
        decoder: rows. [m, d]
    """
    along = (f * (residual @ decoder.T)).sum(0, dtype=torch.float64)
    squares = f.square().sum(0, dtype=torch.float64)
    return LatentSums(f.sum(0, dtype=torch.float64), squares, (f * norms[:, None]).sum(0, dtype=torch.float64), along)


def sparse_sums(entries: Entries, norms: Tensor, residual: Tensor, decoder: Tensor) -> LatentSums:
    """`dense_sums` from the codes that are not zero.

    Args:
        entries: of t tokens.
        norms: |x|. [t]
        residual: x - x_hat. [t, d]
        decoder: rows. [m, d]
    """
    m, f, step = len(decoder), entries.values.double(), max(1, AT_ONCE // decoder.shape[1])
    order = entries.latents.argsort()
    tokens, first = entries.tokens[order], torch.bincount(entries.latents, minlength=m).cumsum(0).roll(1)
    first[0] = 0
    exact, ends = residual.double(), [*first[::step].tolist(), len(f)]
    along = []
    for i, rows in enumerate(decoder.split(step)):
        part = slice(ends[i], ends[i + 1])
        written = torch.nn.functional.embedding_bag(
            tokens[part], exact, first[i * step :][: len(rows)] - ends[i], per_sample_weights=f[order[part]], mode="sum"
        )  # sum f (x - x_hat) of each latent
        along.append((written * rows).sum(-1))
    weights = f, f.square(), f * norms[entries.tokens]
    code, square, with_norm = (torch.bincount(entries.latents, w, m) for w in weights)
    return LatentSums(code, square, with_norm, torch.cat(along))


def least_squares_multiple(sums: LatentSums, decoder: Tensor) -> Tensor:
    """What least squares would multiply each latent's codes by, others as they are; NaN for silent ones. [m] float64"""
    energy = sums.square * decoder.double().square().sum(1)
    return torch.where(energy > 0, 1 + sums.along / energy, torch.nan)


def norm_correlation(sums: LatentSums, norms: Tensor) -> Tensor:
    """Correlation of each code with |x| over tokens; 0 for a code that does not vary. norms [t] -> [m] float64"""
    z, n = norms.double(), len(norms)
    covariance = sums.with_norm / n - sums.code / n * z.mean()
    deviation = (sums.square / n - (sums.code / n).square()).clamp(min=0).sqrt() * z.std(correction=0)
    return torch.where(deviation > 0, covariance / deviation, 0.0).clamp(-1, 1)


def share_over(values: Tensor, least: float) -> float:
    """Share of the values [m] that are at least `least` in size, NaN counting as below."""
    return (values.abs() >= least).double().mean().item()


def known_median(values: Tensor) -> float:
    """Median of the values [m] that are not NaN; NaN without any."""
    known = values[~values.isnan()]
    return known.quantile(0.5).item() if len(known) else float("nan")
