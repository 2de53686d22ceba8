"""Columns ranked by an L1-penalised logistic regression, many problems at once; codes that are mostly 0 stay sparse."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from saebench_lite.probes.logistic import columns_of, standardise
from saebench_lite.probes.newton import gradients, groups, margins

SPARSE = 0.2
"Share of numbers that are not 0 up to which products over those alone are faster, on a CPU."
DIGITS = 9
"Of a weight; below them sums of another order differ, and columns that are alike would rank by chance."


def fit_sparse_ranking(x: Tensor, y: Tensor, n_train: int, *, l1: float = 0.01, steps: int = 300) -> Tensor:
    """Columns of each problem by their signed weight in an L1-penalised, class-balanced logistic regression.

    Accelerated proximal gradient (Beck & Teboulle 2009) on
    standardised columns: mean weighted loss + l1 |w|_1. Returns column indices [B, k], largest weight first;
    of equal ones (to `DIGITS`) the first.

    Args:
        x: rows. [B, n, k]
        y: labels. [B, n] bool
        n_train: rows that count, the first ones.
        l1: penalty.
        steps: of the proximal gradient.
    """
    y = y[:, :n_train].to(torch.float64)
    x = x[:, :n_train]
    if x.device.type == "cpu" and torch.count_nonzero(x) <= SPARSE * x.numel():
        weights = _weights(SparseProducts(x), y, l1, steps)
    else:
        parts = groups([n_train] * len(y), x)
        weights = torch.cat([_weights(DenseProducts(x[part]), y[part], l1, steps) for part in parts])
    return weights.round(decimals=DIGITS).argsort(dim=-1, descending=True, stable=True)


class Products(Protocol):
    """Standardised columns of b problems, and a last one of ones."""

    def margins(self, w: Tensor) -> Tensor:
        """x . w of every row: w [b, k + 1] -> [b, n]."""
        ...

    def gradients(self, residual: Tensor) -> Tensor:
        """Sum over rows of residual [b, n] times each column: [b, k + 1]."""
        ...

    def energy(self, weight: Tensor) -> Tensor:
        """Sum over rows and columns of weight [b, n] times the square: [b]."""
        ...


class DenseProducts:
    """By matrix products. x [b, n, k]"""

    def __init__(self, x: Tensor) -> None:
        self.columns = columns_of(standardise(x, torch.ones_like(x[..., 0]))[0])

    def margins(self, w: Tensor) -> Tensor:
        """As of `Products`."""
        return margins(self.columns, w)

    def gradients(self, residual: Tensor) -> Tensor:
        """As of `Products`."""
        return gradients(self.columns, residual)

    def energy(self, weight: Tensor) -> Tensor:
        """As of `Products`."""
        return (weight[:, None] * self.columns.square()).sum((-1, -2))


class SparseProducts:
    """By the numbers that are not 0, in one sparse matrix of all problems. x [b, n, k] on the CPU

    Means and scales are applied to the coefficients and to the sums, so that columns keep their zeros.
    """

    def __init__(self, x: Tensor) -> None:
        self.b, self.n, self.k = x.shape
        rows = sparse.csr_matrix(x.mT.reshape(-1, self.n).double().numpy())  # a column of a problem each
        column = np.repeat(np.arange(self.b * self.k), np.diff(rows.indptr))
        place = rows.indices + (column // self.k).astype(np.int64) * self.n
        shape = (self.b * self.k, self.b * self.n)
        self.matrix = sparse.csr_matrix((rows.data, place, rows.indptr), shape=shape)
        self.across = self.matrix.T
        mean = self._summed(rows.data, column) / self.n
        empty = self.n - np.diff(rows.indptr)
        spread = self._summed((rows.data - mean[column]) ** 2, column) + empty * mean**2
        sd = np.sqrt(spread / self.n)
        sd = np.where(sd > 1e-12 * (1 + abs(mean)), sd, 1.0)  # as in `standardise`
        self.mean, self.sd = (torch.from_numpy(t).view(self.b, self.k) for t in (mean, sd))

    def _summed(self, values: np.ndarray, column: np.ndarray) -> np.ndarray:
        return np.bincount(column, values, self.b * self.k)

    def margins(self, w: Tensor) -> Tensor:
        """As of `Products`."""
        scaled = w[:, :-1] / self.sd
        out = torch.from_numpy(self.across @ scaled.flatten().numpy()).view(self.b, self.n)
        return out.add_((w[:, -1] - (self.mean * scaled).sum(1))[:, None])

    def gradients(self, residual: Tensor) -> Tensor:
        """As of `Products`."""
        total = residual.sum(1, keepdim=True)
        sums = torch.from_numpy(self.matrix @ residual.flatten().numpy()).view(self.b, self.k)
        return torch.cat([(sums - self.mean * total) / self.sd, total], 1)

    def energy(self, weight: Tensor) -> Tensor:
        """As of `Products`."""
        flat, total = weight.flatten().numpy(), weight.sum(1, keepdim=True)
        squares = self.matrix.multiply(self.matrix)
        first, second = (torch.from_numpy(m @ flat).view(self.b, self.k) for m in (self.matrix, squares))
        centred = second - 2 * self.mean * first + self.mean.square() * total
        return (centred / self.sd.square()).sum(1) + total[:, 0]


def _weights(x: Products, y: Tensor, l1: float, steps: int) -> Tensor:
    """Weights [b, k] of `fit_sparse_ranking`. y [b, n] float64"""
    share = y.mean(-1, keepdim=True)
    weight = torch.where(y > 0, 0.5 / share, 0.5 / (1 - share)) / y.shape[1]
    step = (4 / x.energy(weight))[:, None]  # the trace bounds the norm
    w = z = torch.zeros_like(x.gradients(weight))
    momentum = 1.0
    for _ in range(steps):
        moved = z - step * x.gradients(torch.sigmoid(x.margins(z)).sub_(y).mul_(weight))
        shrunk = moved.sign() * (moved.abs() - step * l1).clamp(min=0.0)
        new = torch.cat([shrunk[:, :-1], moved[:, -1:]], -1)
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        z = new + (momentum - 1) / following * (new - w)
        w, momentum = new, following
    return w[:, :-1]
