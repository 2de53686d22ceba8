"""LAT: the main direction of differences between random pairs of positive examples, found without negatives.

Positive rows are shuffled, the first half is paired with the second, and the first principal component of the
unit-norm differences is the direction (Zou et al., arXiv:2310.01405, as used by AxBench, arXiv:2501.17148, section 3).
Where we differ: a principal component has no sign, and AxBench keeps the one its library gives, so some of its concepts
score far below chance; here the positives' mean is on the high side, which is one bit read from the labels.
"""

import torch
from torch import Tensor

from saebench_lite.api.baseline import Baseline
from saebench_lite.api.probe_types import Direction
from saebench_lite.probes.directions import oriented, principal_direction
from saebench_lite.stats.seeds import derive_seed


def fit(x: Tensor, y: Tensor, train_mask: Tensor) -> Direction:
    """One direction a problem. x [n, d], y and train_mask [problems, n]; at least four positive rows each."""
    x, train_mask = x.double(), train_mask.bool()
    return oriented(
        x,
        y,
        train_mask,
        [paired_direction(x[rows & labels.bool()]) for labels, rows in zip(y, train_mask, strict=True)],
    )


def paired_direction(rows: Tensor) -> Tensor:
    """[d] of positive rows [n, d], paired at random (the same way for the same n)."""
    generator = torch.Generator().manual_seed(derive_seed("lat", len(rows)))
    rows = rows[torch.randperm(len(rows), generator=generator).to(rows.device)]
    half = len(rows) // 2
    difference = rows[:half] - rows[half : 2 * half]
    return principal_direction(difference / difference.norm(dim=1, keepdim=True).clamp(min=1e-12))


BASELINE = Baseline(
    name="lat",
    description="first principal component of differences between random positive examples (AxBench's LAT)",
    kind="baseline",
    probe=fit,
    default=False,
)
