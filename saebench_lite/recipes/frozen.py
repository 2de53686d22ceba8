"""Frozen parts, the controls of Korznikov et al. (arXiv:2602.14111): what training one half alone achieves.

- decoder: rows drawn once, Gaussian with the activations' covariance, and never trained;
- soft_decoder: rows drawn uniformly on the sphere, kept at a cosine of at least 0.8 with where they started;
- encoder: weights drawn uniformly on the sphere and never trained; thresholds, biases and decoder are. The decoder
  keeps its norms then, so that each fixed direction finds its scale.

The drawing that served each control best in that paper is used (covariance for the decoder, the sphere otherwise).
"""

from __future__ import annotations

import torch
from torch import Tensor

LEAST_COSINE = 0.8


def covariance_root(x: Tensor) -> Tensor:
    """Symmetric square root [d, d] of the covariance of rows x [n, d], float32 on the CPU."""
    x = x.double().cpu()
    x = x - x.mean(0)
    values, vectors = torch.linalg.eigh(x.T @ x / len(x))
    return (vectors * values.clamp(min=0.0).sqrt() @ vectors.T).float()


def project_to_cone(rows: Tensor, start: Tensor, least: float = LEAST_COSINE) -> Tensor:
    """Rows [m, d] projected to a cosine of at least `least` with unit rows start [m, d], norms unchanged.

    A row outside the cone, u as a unit vector and r its start, becomes
    least * r + sqrt(1 - least^2) * unit(u - (u.r) r).
    """
    norms = rows.norm(dim=1, keepdim=True)
    unit = rows / norms
    cosine = (unit * start).sum(1, keepdim=True)
    across = unit - cosine * start
    across = across / across.norm(dim=1, keepdim=True).clamp(min=1e-12)
    turned = least * start + (1 - least**2) ** 0.5 * across
    return torch.where(cosine < least, norms * turned, rows)
