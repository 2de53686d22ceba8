"""Principal components as latents: directions of most variance, found without labels, dense and orthogonal."""

import torch

from saebench_lite.api.baseline import Baseline
from saebench_lite.api.context import EvalContext
from saebench_lite.saes.affine import AffineSAE


def make(ctx: EvalContext, seed: int) -> AffineSAE:
    """All principal components of a sample of activations; codes are signed, reconstruction is exact."""
    x = ctx.sample().double()
    mean = x.mean(0)
    components = torch.linalg.eigh((x - mean).T @ (x - mean)).eigenvectors.flip(1)
    largest = components.gather(0, components.abs().argmax(0, keepdim=True))
    components = components * torch.where(largest < 0, -1.0, 1.0)  # a sign does not depend on the library
    meta = {"architecture": "pca"}
    return AffineSAE(W_enc=components, W_dec=components.T, b_dec=mean, activation="identity", meta=meta)


BASELINE = Baseline(
    name="pca", description="principal components of the activations as latents", kind="dictionary baseline", make=make
)
