"""One latent as a detector of a rare concept: chosen on training rows, judged on test rows.

The latent is the one with the largest standardised difference of class means: over the standard deviation within the
classes where one text in twenty is positive, so that of the negatives above all (Cohen's d would weigh both classes by
their rows). Its figure is the average precision at that share of positives. AUROC on balanced classes cannot tell a
latent that fires for a concept from one that also fires for a hundred other things; at 5 % prevalence nineteen of
twenty chances to be wrong lie outside the concept. Neither step reads where a code is 0, its scale or a constant added
to it, and with codes pooled by their maximum a raised threshold can only lose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from saebench_lite.metrics.classification import average_precision
from saebench_lite.metrics.resampling import average_precision_error
from saebench_lite.probes.alike import alike
from saebench_lite.probes.latent_selection import (
    Ranked,
    RankedColumns,
    class_differences_of_sets,
    merged_columns,
    ranked,
)

PREVALENCE = 0.05
"Share of positive texts that average precision assumes, and its value for a score that says nothing."


class Case(NamedTuple):
    """One concept; rows are texts of the corpus."""

    rows: Tensor
    "Training rows, then test rows. [n]"
    positive: Tensor
    "[n] bool"
    n_train: int


def best_latents(
    table: Tensor, offset: int, cases: Sequence[Case], so_far: Sequence[RankedColumns] = (), most: int = 1
) -> list[RankedColumns]:
    """Of each case the best latents [most] of `so_far` and a block on its training rows, with their codes [n, most].

    The lower index wins ties. The codes are those on all rows of the case.

    Args:
        table: pooled codes of the block. [texts, m]
        offset: index of its first latent.
        cases: the concepts.
        so_far: result of the blocks before; empty at the first.
        most: latents, best first; fewer where there are fewer.
    """
    sets = [(case.rows[: case.n_train], case.positive[: case.n_train]) for case in cases]
    score = class_differences_of_sets(table, sets, PREVALENCE)
    found = []
    for i, top in enumerate(map(Ranked, *ranked(score, offset, most))):
        rows = cases[i].rows.to(table.device)[:, None]
        new = RankedColumns(*top, table[rows, top.latent - offset])
        found.append(merged_columns(so_far[i] if so_far else None, new, most))
    return found


def rare_average_precision(scores: Tensor, positive: Tensor) -> Tensor:
    """Average precision at `PREVALENCE` of scores [..., n] with labels [..., n] bool, as many positive in every row."""
    return average_precision(*_sides(scores, positive), PREVALENCE)


def rare_figures(scores: Sequence[Tensor], positive: Sequence[Tensor]) -> list[tuple[float, float]]:
    """`rare_average_precision` of each problem and its standard error under other test texts, drawn within classes.

    scores: of test texts [n]; positive: their labels [n] bool, one of each a problem.
    """
    out = [(0.0, 0.0)] * len(scores)
    labels = [p.cpu() for p in positive]
    for members in alike((len(p), int(p.sum())) for p in labels):
        sides = _sides(torch.stack([scores[i] for i in members]).cpu(), torch.stack([labels[i] for i in members]))
        values, errors = (of(*sides, PREVALENCE).tolist() for of in (average_precision, average_precision_error))
        for i, *figure in zip(members, values, errors, strict=True):
            out[i] = tuple(figure)
    return out


def _sides(scores: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
    """Scores [..., n] of positives and of negatives, as many in every row."""
    up, down = (scores[side].view(*scores.shape[:-1], -1) for side in (positive, ~positive))
    return up, down
