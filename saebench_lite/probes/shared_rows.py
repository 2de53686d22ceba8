"""Logistic regressions on rows of one table, each problem with rows of its own, many at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from saebench_lite.api.probe_types import Direction, TrainingSet, joined
from saebench_lite.probes.logistic import standardise
from saebench_lite.probes.newton import groups
from saebench_lite.probes.validated import GRID, folds, validated


class LogisticFit:
    """A probe: logistic regression on standardised columns, its strength chosen by validation (`validated.validated`).

    Of training rows that are equal, as in a bootstrap sample, one is kept and counts as often as there are. Problems
    of about as many rows are solved together; rounding aside, a problem's direction does not depend on the others.
    """

    def __call__(self, x: Tensor, y: Tensor, train_mask: Tensor, /) -> Direction:
        """Directions of problems on shared rows: x [n, d], y and train_mask [problems, n]."""
        distinct, place = x.unique(dim=0, return_inverse=True)
        pairs = zip(y.bool(), train_mask.bool(), strict=True)
        return self.fit_sets(distinct, [TrainingSet(place[rows], labels[rows]) for labels, rows in pairs])

    def fit_sets(self, x: Tensor, sets: Sequence[TrainingSet], /) -> Direction:
        """Directions of problems with rows of their own. x: the table [n, d]; sets: at least one."""
        counted = [_counted(s) for s in sets]
        one, five = (
            sorted((i for i, c in enumerate(counted) if len(c.counts) == 1 + n), key=lambda i: -len(counted[i].rows))
            for n in (1, 5)
        )
        union, many = _of_one_table(x, counted, one)
        taken = set(many)
        one = [i for i in one if i not in taken]
        parts = [
            _fitted_together(x[union.to(x.device)], union, [counted[i] for i in many[group]])
            for group in groups([len(union)] * len(many), x, shared=True)
        ]
        parts += [
            _fitted(x, [counted[i] for i in kind[group]])
            for kind in (one, five)
            for group in groups([len(counted[i].rows) for i in kind], x, reduced=True)
        ]
        fitted, back = joined(parts), torch.tensor([*many, *one, *five]).argsort().to(x.device)
        return Direction(fitted.weight[back], fitted.bias[back])


fit_each = LogisticFit()
SPREAD = 4
"Times the rows of a set that the sets solved on shared columns may read in all."
ALIKE = 1e-6
"Of a column's mean square on shared columns: a variance in one set below it is not told from rounding in float32."


class _Counted(NamedTuple):
    """A training set without repetitions."""

    rows: Tensor
    "[m] distinct with their labels"
    y: Tensor
    "[m]"
    counts: Tensor
    "How often each row stands in the set, then in the validation part of each fold. [1 + folds, m] float64"


def _counted(training: TrainingSet) -> _Counted:
    """On the CPU, where sets are counted one by one."""
    labels = training.y.cpu().bool()
    every = torch.ones_like(labels)[None]
    masks = torch.cat([every, folds(every, labels[None])[:, 0]]).double()
    distinct, place = (2 * training.rows.cpu().long() + labels).unique(return_inverse=True)
    counts = masks.new_zeros(len(masks), len(distinct)).index_add_(1, place, masks)
    return _Counted(distinct // 2, distinct % 2, counts)


def _of_one_table(x: Tensor, counted: Sequence[_Counted], sets: Sequence[int]) -> tuple[Tensor, list[int]]:
    """Those of the sets that are solved on shared columns, and the rows they read, ascending.

    Each reads a good part of these rows and no row twice, and has no fewer rows than columns. All columns vary in it as
    they do in all sets: next to an outlier of another set its own rows would be alike.

    Args:
        x: the table. [n, d]
        counted: training sets.
        sets: those among which to choose.
    """
    wide = [i for i in sets if len(counted[i].rows) >= x.shape[1] and _without_repeats(counted[i].rows)]
    union = _union([counted[i].rows for i in wide])
    many = [i for i in wide if SPREAD * len(counted[i].rows) >= len(union)]
    if len(many) < 2:
        return union[:0], []
    union = _union([counted[i].rows for i in many])
    table = standardise(x[union.to(x.device)][None], torch.ones(1, len(union), device=x.device))[0][0]
    parts = (table[torch.searchsorted(union, counted[i].rows).to(x.device)] for i in many)
    varied = torch.stack([(p.var(0, correction=0) > ALIKE * p.square().mean(0)).all() for p in parts]).tolist()
    many = [i for i, does in zip(many, varied, strict=True) if does]
    return _union([counted[i].rows for i in many]), many


def _union(rows: Sequence[Tensor]) -> Tensor:
    return torch.cat([torch.empty(0, dtype=torch.long), *rows]).unique()


def _without_repeats(rows: Tensor) -> bool:
    return len(rows.unique()) == len(rows)


def _fitted_together(x: Tensor, union: Tensor, members: Sequence[_Counted]) -> Direction:
    """Fits of one group on shared columns; rows that a problem does not read do not count.

    Args:
        x: rows of the union. [n, d]
        union: their numbers, ascending. [n]
        members: training sets of those rows.
    """
    y = torch.zeros(len(members), len(union), dtype=torch.float64)
    counts = y.new_zeros(len(members[0].counts), *y.shape)
    for i, member in enumerate(members):
        place = torch.searchsorted(union, member.rows)
        y[i, place], counts[:, i, place] = member.y.double(), member.counts
    return validated(x[None], y.to(x.device), *counts.to(x.device), grid=GRID)


def _fitted(x: Tensor, members: Sequence[_Counted]) -> Direction:
    """Fits of one group; the shorter problems are filled up with rows of their own that do not count."""
    rows, y = (pad_sequence(list(part), True, -1).to(x.device) for part in list(zip(*members, strict=True))[:2])
    counts = pad_sequence([m.counts.T for m in members], True).permute(2, 0, 1).to(x.device)
    fill = rows < 0
    rows, y = torch.where(fill, rows[:, :1], rows), torch.where(fill, y[:, :1], y)
    return validated(x[rows], y.double(), *counts, grid=GRID)
