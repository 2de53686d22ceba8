"""Strengths of logistic regressions, each chosen by its loss on rows that are kept from the fit; many at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from saebench_lite.api.probe_types import Direction
from saebench_lite.probes.logistic import fit_columns
from saebench_lite.probes.newton import margins

FITTED = torch.float32
"The type of the fits that serve to choose."
SHARE = 1e-5
"Of the first gradient, left in them."


def chosen_strengths(
    columns: Tensor,
    y: Tensor,
    train: Tensor,
    validation: Sequence[Tensor],
    grid: tuple[float, ...],
    ridge: Tensor | None = None,
) -> tuple[Tensor, Direction]:
    """Each problem's strength [b] of the least validation loss, the strongest penalty of equal ones, and a fit with it.

    A fit starts from the fold before it; that of the first fold at the first strength from the classes' odds, at the
    second from that one, and further on from where the two before it point.

    Args:
        columns: as `columns_of` gives them, of each problem or shared by all. [b or 1, k + 1, n]
        y: labels. [b, n]
        train: how often each row counts. [b, n]
        validation: how often each does in a fold's validation part. [b, n]
        grid: strengths.
        ridge: penalties at strength 1. [b, k + 1]
    """
    columns, y = columns.to(FITTED), y.to(FITTED)
    ridge = None if ridge is None else ridge.to(FITTED)
    parts = [[_rows(mask.to(FITTED), columns, y) for mask in (train - valid, valid)] for valid in validation]
    least = columns.new_full((len(y),), torch.inf, dtype=torch.float64)
    strengths, best = torch.full_like(least, grid[0]), _odds(*parts[0][0])
    path: list[Direction] = []
    for strength in grid:
        fits: list[Direction] = []
        for seen, _ in parts:
            start = fits[-1] if fits else _ahead(path) if path else best
            fits.append(fit_columns(*seen, torch.full_like(least, strength), start, share=SHARE, ridge=ridge))
        path = [*path[-1:], fits[0]]
        loss = torch.stack([_log_loss(fit, *unseen) for fit, (_, unseen) in zip(fits, parts, strict=True)]).sum(0)
        better = loss < least
        least, strengths = torch.where(better, loss, least), torch.where(better, strength, strengths)
        weight = torch.where(better[:, None], fits[-1].weight, best.weight)
        best = Direction(weight, torch.where(better, fits[-1].bias, best.bias))
    return strengths, Direction(*(t.double() for t in best))


def _ahead(path: Sequence[Direction]) -> Direction:
    """Where the last two fits point; the only one."""
    return Direction(*(2 * last - before for before, last in zip(path[0], path[-1], strict=True)))


def _log_loss(fitted: Direction, columns: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """Of each problem, summed over its rows. [b] float64"""
    margin = margins(columns, torch.cat([fitted.weight, fitted.bias[:, None]], -1))
    return (mask * (torch.nn.functional.softplus(margin) - y * margin)).sum(-1, dtype=torch.float64)


def _odds(columns: Tensor, y: Tensor, mask: Tensor) -> Direction:
    """No weights, and the intercept of about the classes' odds; there may be no rows."""
    positive, negative = ((mask * part).sum(-1) + 0.5 for part in (y, 1 - y))
    return Direction(columns.new_zeros(len(y), columns.shape[1] - 1), (positive / negative).log())


class _Rows(NamedTuple):
    """The rows that each problem uses, and what pads the problems that use fewer."""

    columns: Tensor
    "[b, k + 1, m], or [1, k + 1, m] shared by all problems"
    y: Tensor
    "Labels. [b, m]"
    mask: Tensor
    "How often each counts, 0 for padding. [b, m]"


def _rows(mask: Tensor, columns: Tensor, y: Tensor) -> _Rows:
    if len(columns) == 1 < len(y):
        return _Rows(columns, y, mask)
    place = used_first(mask)
    wide = place[:, None].expand(-1, columns.shape[1], -1)
    return _Rows(columns.gather(2, wide), y.gather(1, place), mask.gather(1, place))


def used_first(mask: Tensor) -> Tensor:
    """Row numbers [b, m], used rows first and in order; m: the most that a problem uses. mask [b, n]: 0 is unused."""
    used = mask != 0
    return (~used).to(torch.uint8).argsort(dim=-1, stable=True)[:, : int(used.sum(-1).max())]
