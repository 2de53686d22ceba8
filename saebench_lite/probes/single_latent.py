"""One latent as a detector of a rare concept: chosen on training rows, judged on test rows.

The latent is the one with the largest standardised difference of class means (Cohen's d); its figure is the average
precision where one text in twenty is positive. AUROC on balanced classes cannot tell a latent that fires for a concept
from one that also fires for a hundred other things; at 5 % prevalence nineteen of twenty chances to be wrong lie
outside the concept. Neither step reads where a code is 0, its scale or a constant added to it, and with codes pooled by
their maximum a raised threshold can only lose.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from saebench_lite.metrics.classification import average_precision
from saebench_lite.metrics.resampling import average_precision_error
from saebench_lite.probes.latent_selection import RankedColumns, class_differences_of_sets, merged_columns

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
    found = []
    for i, score in enumerate(class_differences_of_sets(table, sets, PREVALENCE)):
        rows = cases[i].rows.to(table.device)[:, None]
        best = so_far[i] if so_far else None
        found.append(merged_columns(best, score, offset, most, lambda top, rows=rows: table[rows, top]))
    return found


def rare_average_precision(scores: Tensor, positive: Tensor) -> Tensor:
    """Average precision of test scores [n] with labels [n] bool at `PREVALENCE`."""
    return average_precision(scores[positive], scores[~positive], PREVALENCE)


def rare_average_precision_error(scores: Tensor, positive: Tensor) -> float:
    """Standard error of `rare_average_precision` under other test texts, drawn within the classes."""
    scores, positive = scores.cpu(), positive.cpu()
    return average_precision_error(scores[positive], scores[~positive], PREVALENCE)
