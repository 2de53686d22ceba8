"""Do c_dec and s_n^dec have their minimum at the true L0? `python -m tests.experiments.right_l0`"""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

D, FEATURES = 100, 50


class CorrelatedWorld:
    """The 50-feature world of "Sparse but Wrong" (arXiv:2508.16560, section 4 and its code), drawn anew.

    x = sum_i a_i relu(1 + .15 e_i) f_i with orthonormal f_i [50, 100] and e_i standard normal. Feature i fires with
    probability .345 (49 - i) / 50 + .05, features together by a Gaussian copula whose correlations are random: 30 % of
    pairs 0, the others of size .3 to .9 and either sign, made positive semi-definite by raising eigenvalues to 1e-6 and
    scaling the diagonal back to 1. On average 11 features fire (`true_l0`).
    """

    def __init__(self, seed: int = 42) -> None:
        rng = np.random.default_rng(seed)
        above = np.triu_indices(FEATURES, 1)
        strength = rng.uniform(0.3, 0.9, len(above[0])) * rng.choice([-1.0, 1.0], len(above[0]))
        strength[rng.random(len(strength)) < 0.3] = 0.0
        raw = np.eye(FEATURES)
        raw[above] = strength
        raw = np.triu(raw) + np.triu(raw, 1).T
        size, axes = np.linalg.eigh(raw)
        root = axes * np.sqrt(np.maximum(size, 1e-6))
        root /= np.linalg.norm(root, axis=1, keepdims=True)
        rates = 0.345 * (FEATURES - 1 - np.arange(FEATURES)) / FEATURES + 0.05
        self.true_l0 = float(rates.sum())
        self.threshold = torch.from_numpy(ndtri(1 - rates)).float()
        self.root = torch.from_numpy(root).float()
        self.directions = torch.linalg.qr(torch.randn(D, FEATURES, generator=torch.Generator().manual_seed(seed))).Q.T

    def sample(self, n: int, seed: int) -> Tensor:
        """Activations [n, D]."""
        g = torch.Generator().manual_seed(seed)
        fires = torch.randn(n, FEATURES, generator=g) @ self.root.T > self.threshold
        size = (1 + 0.15 * torch.randn(n, FEATURES, generator=g)).relu()
        return (fires * size) @ self.directions
