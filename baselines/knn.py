"""k nearest neighbours: the share of positives among the closest training texts, by Euclidean distance.

Columns are standardised by the training rows; k from 1, 2, 4, ..., 64 by validation AUROC inside them (the smaller k
where they tie). Source: Kantamneni et al., arXiv:2502.16681, appendix on baseline methods.
"""

import torch
from torch import Tensor

from saebench_lite.api.baseline import Baseline
from saebench_lite.probes.baseline_scores import choose, validation_folds
from saebench_lite.probes.logistic import standardise

KS = (1, 2, 4, 8, 16, 32, 64)


def shares(x: Tensor, y: Tensor, judged: Tensor, ks: tuple[int, ...]) -> Tensor:
    """Share of positives among the k nearest training rows for each judged row: [ks, m].

    Args:
        x: training rows [n, d].
        y: labels [n].
        judged: rows to judge [m, d].
        ks: numbers of neighbours.
    """
    order = torch.cdist(judged, x).argsort(dim=1, stable=True)[:, : max(ks)]
    hits = y.to(torch.float64)[order].cumsum(1)
    return torch.stack([hits[:, k - 1] / k for k in ks])


def classify(x: Tensor, y: Tensor, judged: Tensor) -> Tensor:
    """Share of positives minus one half. x [n, d], y [n], judged [m, d] -> [m]"""
    scaled, mean, sd = standardise(x[None], torch.ones_like(y)[None])
    x, judged = scaled[0], (judged.to(torch.float64) - mean) / sd
    smallest = min([len(fold.fit) for fold in validation_folds(y)] or [1])
    ks = tuple(k for k in KS if k <= smallest)
    best = choose(y, len(ks), lambda fit, validation: shares(x[fit], y[fit], x[validation], ks))
    return shares(x, y, judged, (ks[best],))[0] - 0.5


BASELINE = Baseline(
    name="knn",
    description="k nearest neighbours in the model's own activations",
    kind="baseline",
    classify=classify,
    default=False,
)
