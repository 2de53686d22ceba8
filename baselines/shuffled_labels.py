"""Shuffled labels: logistic regression fitted on the same rows with their labels permuted.

The chance distribution of the evaluation itself: what splits, thresholds and few test rows give for nothing. A score
within this row's interval is no evidence.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from saebench_lite.api.baseline import Baseline
from saebench_lite.api.probe_types import Direction, TrainingSet
from saebench_lite.probes.shared_rows import fit_each
from saebench_lite.stats.seeds import derive_seed


class ShuffledFit:
    """Logistic regressions on labels permuted among each problem's training rows."""

    def __call__(self, x: Tensor, y: Tensor, train_mask: Tensor, /) -> Direction:
        """Directions of problems on shared rows: x [n, d], y and train_mask [problems, n]."""
        generator, shuffled = _generator(*y.shape), y.clone()
        for i, rows in enumerate(train_mask.bool()):
            shuffled[i, rows] = _shuffled(y[i, rows], generator)
        return fit_each(x, shuffled, train_mask)

    def fit_sets(self, x: Tensor, sets: Sequence[TrainingSet], /) -> Direction:
        """The same of sets of a table's rows [n, d]."""
        return fit_each.fit_sets(x, [s._replace(y=_shuffled(s.y, _generator(1, len(s.y)))) for s in sets])


def _generator(*shape: int) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed("shuffled_labels", *shape))


def _shuffled(y: Tensor, generator: torch.Generator) -> Tensor:
    return y[torch.randperm(len(y), generator=generator).to(y.device)]


BASELINE = Baseline(
    name="shuffled_labels",
    description="logistic regression on permuted labels",
    kind="control",
    probe=ShuffledFit(),
    default=False,
)
