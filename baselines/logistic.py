"""Logistic regression on the model's own activations: the supervised ceiling of a linear readout.

L2 penalty chosen on a validation part of the training rows, standardised columns: the same fit that k-sparse probes
get. SAE latents rarely beat it (Kantamneni et al., arXiv:2502.16681).
"""

import torch
from torch import Tensor

from saebench_lite.probes import fit_logistic_validated
from saebench_lite.task import Baseline, Direction


def fit(x: Tensor, y: Tensor, use: Tensor) -> Direction:
    """x [n, d] shared by all problems, y and use [problems, n]; each problem sees its own rows alone."""
    fitted = [
        fit_logistic_validated(x[rows][None], labels[rows][None], rows[rows][None])
        for labels, rows in zip(y, use.bool(), strict=True)
    ]
    return Direction(torch.cat([f.weight for f in fitted]), torch.cat([f.bias for f in fitted]))


BASELINE = Baseline(
    name="logistic",
    claim="L2 logistic regression on the model's own activations",
    kind="baseline",
    probe=fit,
)
