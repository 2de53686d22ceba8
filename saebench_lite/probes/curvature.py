"""Second derivatives of many logistic regressions: weighted Gram matrices, their factors, and what steps tell of them.

Gram matrices cost 2 n k^2 operations a problem, so that they are computed in float32, and those of wide problems are
kept for as long as steps by them are good.
"""

from __future__ import annotations

import torch
from torch import Tensor

CORE = 1 << 19
"Bytes of columns of which a core computes Gram matrices at a time on a CPU."
GPU = 1 << 28
"The same on a GPU."
NARROW = 16
"Columns up to which Gram matrices are in the type of the columns."
WIDE = 64
"Columns from which Gram matrices are kept, and computed in halves."
KEEP = 0.7
"Share of a gradient that a step may leave before second derivatives of a wide problem are computed anew."
LIFTS = 20
"Times that the diagonal of a matrix that is not definite is raised, to ten times as much each."
PAIRS = 6
"Steps of a wide problem that are remembered."


class SecondDerivatives:
    """Of the objectives of `newton.minimise` at the coefficients of a batch of problems."""

    def __init__(self, x: Tensor, ridge: Tensor) -> None:
        """Those of b problems; `renew` comes before `solve`.

        Args:
            x: columns [b, k, n], or [1, k, n] shared by all.
            ridge: penalties. [b, k]
        """
        self.x, self.ridge = x, ridge
        self._coarse = coarse(x) if x.shape[1] > NARROW else x
        self._factor: Tensor | None = None
        self._pairs: list[tuple[Tensor, Tensor, Tensor]] = []
        self.fresh = torch.zeros(len(ridge), dtype=torch.bool, device=x.device)
        "Those computed at the present coefficients."

    def keep(self, which: Tensor) -> None:
        """Drops the other problems. which [b] bool"""
        if len(self.x) > 1:
            same, self.x = self._coarse is self.x, self.x[which]
            self._coarse = self.x if same else self._coarse[which]
        self.ridge, self.fresh = self.ridge[which], self.fresh[which]
        self._factor = None if self._factor is None else self._factor[which]
        self._pairs = [(step[which], change[which], scale[which]) for step, change, scale in self._pairs]

    def renew(self, left: Tensor, curvature: Tensor) -> None:
        """Computes them anew, except for wide problems whose last step was good.

        Args:
            left: share of the gradient that the last step left. [b]
            curvature: of each row. [b, n]
        """
        kept = self._factor is not None and self.x.shape[1] >= WIDE
        self.fresh = left > KEEP if kept else torch.ones_like(self.fresh)
        if self._factor is None or self.fresh.all():
            self._factor, self._pairs = factors(self.x, self._coarse, curvature, self.ridge), []
        elif self.fresh.any():
            which = self.fresh if len(self.x) > 1 else slice(None)
            rows, ridge = curvature[self.fresh], self.ridge[self.fresh]
            self._factor[self.fresh] = factors(self.x[which], self._coarse[which], rows, ridge)
            for *_, scale in self._pairs:
                scale[self.fresh] = 0.0

    def learn(self, step: Tensor, change: Tensor) -> None:
        """Takes in how gradients changed by a step, both [b, k]."""
        if self.x.shape[1] < WIDE:
            return
        along = (step * change).sum(-1)
        bent = along > torch.finfo(along.dtype).eps * step.norm(dim=-1) * change.norm(dim=-1)
        self._pairs = [*self._pairs[1 - PAIRS :], (step, change, torch.where(bent, 1 / along, 0.0))]

    def solve(self, gradient: Tensor) -> Tensor:
        """The inverse of second derivatives times a gradient [b, k]: by the factors, corrected by steps since (L-BFGS).

        Source: Nocedal & Wright, Numerical Optimization (2006), algorithm 7.4.
        """
        assert self._factor is not None, "renew comes before solve"
        shares: list[Tensor] = []
        for step, change, scale in reversed(self._pairs):
            shares.append((scale * (step * gradient).sum(-1))[:, None])
            gradient = gradient - shares[-1] * change
        solved = torch.cholesky_solve(gradient[..., None], self._factor)[..., 0]
        for (step, change, scale), share in zip(self._pairs, reversed(shares), strict=True):
            solved = solved + step * (share - (scale * (change * solved).sum(-1))[:, None])
        return solved


def coarse(x: Tensor) -> Tensor:
    """Columns x [b, k, n] in float32; narrow ones with zeros to a multiple of 8, which makes products faster."""
    more = -x.shape[1] % 8
    if not more or x.shape[1] >= WIDE:
        return x.float()
    out = x.new_zeros(len(x), x.shape[1] + more, x.shape[2], dtype=torch.float32)
    out[:, :-more] = x
    return out


def factors(x: Tensor, rounded: Tensor, curvature: Tensor, ridge: Tensor) -> Tensor:
    """Cholesky factors [b, k, k] of sum_i curvature_i x_i x_i^T + diag(ridge).

    In x's own type where rounding left a matrix that is not definite; the diagonal is raised where that does not help.

    Args:
        x: columns. [b or 1, k, n]
        rounded: the same as `coarse` gives them, or x. [b or 1, k or more, n]
        curvature: of each row. [b, n]
        ridge: added to the diagonal. [b, k]
    """
    factor, failed, matrix = _cholesky(rounded, curvature, ridge)
    if failed.any() and rounded.dtype != x.dtype:
        factor, failed, matrix = _cholesky(x, curvature, ridge)
    largest = matrix.diagonal(dim1=-2, dim2=-1).amax(-1, keepdim=True)
    lift = torch.finfo(x.dtype).eps * largest.clamp(min=1e-10)
    for _ in range(LIFTS):  # no more: one with numbers that are not finite stays as it is
        if not failed.any():
            break
        lift = 10 * lift
        matrix.diagonal(dim1=-2, dim2=-1).add_(torch.where(failed[:, None], lift, 0.0))
        factor, failed = _factored(matrix)
    return factor


def _cholesky(x: Tensor, curvature: Tensor, ridge: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cholesky factors, which of them failed, and the matrices (lower triangles)."""
    k = ridge.shape[1]
    matrix = gram(x, curvature.to(x.dtype))[:, :k, :k].to(ridge.dtype)
    matrix.diagonal(dim1=-2, dim2=-1).add_(ridge + 1e-10)
    return *_factored(matrix), matrix


def _factored(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Cholesky factors, and which are none; an infinite number is no failure to the library."""
    factor, failed = torch.linalg.cholesky_ex(matrix)
    return factor, (failed != 0) | ~matrix.diagonal(dim1=-2, dim2=-1).isfinite().all(-1)


@torch.no_grad()
def gram(x: Tensor, curvature: Tensor) -> Tensor:
    """Sum over rows of curvature * x x^T, [b, k, k], of wide ones the lower triangle alone.

    As many problems at a time as a core holds; on a CPU rows that do not count are skipped where columns are shared.
    x [b or 1, k, n], curvature [b, n].
    """
    b, (k, n) = len(curvature), x.shape[1:]
    out = x.new_zeros(b, k, k)
    if len(x) == 1 < b and not x.is_cuda:
        rows = x[0].mT.contiguous()
        for into, each in zip(out, curvature, strict=True):
            counts = each.nonzero()[:, 0]
            _add_gram(into[None], rows[counts].mT[None], each[counts][None])
        return out
    together = max(1, (GPU if x.is_cuda else CORE) // (x.itemsize * k * max(1, n)))
    for low in range(0, b, together):
        part = slice(low, low + together)
        _add_gram(out[part], x if len(x) == 1 else x[part], curvature[part])
    return out


def _add_gram(out: Tensor, x: Tensor, curvature: Tensor) -> None:
    """`gram` into zeros; of a wide one the last column, the intercept's, goes by itself and the others in halves.

    Of a multiple of 16 the processor makes fuller use.
    """
    weighted, last = x * curvature[:, None], x.shape[1] - 1
    if last < WIDE:
        out += weighted @ x.mT
        return
    half = last // 2
    out[:, :last, :half] = weighted[:, :last] @ x[:, :half].mT
    out[:, half:last, half:last] = weighted[:, half:last] @ x[:, half:last].mT
    out[:, last] = (weighted @ x[:, last, :, None])[..., 0]
