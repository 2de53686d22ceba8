"""Shuffled labels: logistic regression fitted on the same rows with their labels permuted.

The chance distribution of the evaluation itself: what splits, thresholds and few test rows give for nothing. A score
within this row's interval is no evidence.
"""

import torch
from torch import Tensor

from saebench_lite.api.baseline import Baseline
from saebench_lite.api.probe_types import Direction
from saebench_lite.probes.shared_rows import fit_each
from saebench_lite.stats.seeds import derive_seed


def fit(x: Tensor, y: Tensor, train_mask: Tensor) -> Direction:
    """Probes on labels permuted among each problem's training rows; x [n, d], y and train_mask [problems, n]."""
    generator = torch.Generator().manual_seed(derive_seed("shuffled_labels", *y.shape))
    shuffled = y.clone()
    for i, rows in enumerate(train_mask.bool()):
        index = rows.nonzero()[:, 0]
        shuffled[i, index] = y[i, index[torch.randperm(len(index), generator=generator).to(index.device)]]
    return fit_each(x, shuffled, train_mask)


BASELINE = Baseline(
    name="shuffled_labels",
    description="logistic regression on permuted labels",
    kind="control",
    probe=fit,
    default=False,
)
