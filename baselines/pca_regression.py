"""Principal component regression: logistic regression on the first principal components of the training texts.

Columns are standardised, the components come from all training rows without their labels; how many of them are used
(1, 2, 4, ..., 64) is chosen by validation AUROC, fewer where they tie. L2 strength 1 on the components.
Source: Kantamneni et al., arXiv:2502.16681, appendix on baseline methods; their solver is randomised, this one exact.
"""

import torch
from torch import Tensor

from saebench_lite.api.baseline import Baseline
from saebench_lite.api.probe_types import Direction
from saebench_lite.probes.baseline_scores import choose
from saebench_lite.probes.logistic import fit_logistic, scores, standardise

DIMS = (1, 2, 4, 8, 16, 32, 64)


def fit_nested(z: Tensor, y: Tensor, dims: tuple[int, ...]) -> Direction:
    """A regression on the first c columns of z [n, most] for each c of dims; weights beyond c are 0. y [n]"""
    first = torch.arange(z.shape[1], device=z.device) < torch.tensor(dims, device=z.device)[:, None]
    y = y.to(torch.float64).expand(len(dims), -1)
    return fit_logistic(z * first[:, None], y, torch.ones_like(y), z.new_ones(len(dims)))


def classify(x: Tensor, y: Tensor, judged: Tensor) -> Tensor:
    """Margins of the regression. x [n, d], y [n], judged [m, d] -> [m]"""
    scaled, mean, sd = standardise(x[None], torch.ones_like(y)[None])
    most = min(*x.shape, DIMS[-1])
    dims = tuple(c for c in DIMS if c <= most)
    components = torch.linalg.svd(scaled[0], full_matrices=False).Vh[: dims[-1]].T
    z = scaled[0] @ components
    best = choose(y, len(dims), lambda fit, validation: scores(fit_nested(z[fit], y[fit], dims), z[validation]))
    chosen = fit_nested(z, y, (dims[best],))
    return scores(chosen, ((judged.to(torch.float64) - mean) / sd) @ components)[0]


BASELINE = Baseline(
    name="pca_regression",
    description="logistic regression on principal components of the activations",
    kind="baseline",
    classify=classify,
    default=False,
)
