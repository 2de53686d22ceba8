"""The direction in which positive examples vary most: their first principal component, found without negatives.

AxBench's PCA (Wu et al., arXiv:2501.17148, section 3). Where we differ: AxBench keeps the sign its library gives; here
the positives' mean is on the high side, which is one bit read from the labels.
"""

from torch import Tensor

from saebench_lite.api.baseline import Baseline
from saebench_lite.api.probe_types import Direction
from saebench_lite.probes.directions import oriented, principal_direction


def fit(x: Tensor, y: Tensor, train_mask: Tensor) -> Direction:
    """One direction a problem. x [n, d], y and train_mask [problems, n]."""
    x, train_mask = x.double(), train_mask.bool()
    directions = [principal_direction(x[rows & labels.bool()]) for labels, rows in zip(y, train_mask, strict=True)]
    return oriented(x, y, train_mask, directions)


BASELINE = Baseline(
    name="positive_pca",
    description="first principal component of the positive examples (AxBench's PCA)",
    kind="baseline",
    probe=fit,
    default=False,
)
