"""Neurons: the identity code. Each dimension of the activation is a "latent"; nothing was learned.

An SAE latent should tell more about a concept than a coordinate of the residual stream does.
"""

import torch

from saebench_lite.api.baseline import Baseline
from saebench_lite.api.context import EvalContext
from saebench_lite.saes.affine import AffineSAE


def make(ctx: EvalContext, seed: int) -> AffineSAE:
    """The identity on the site's activations; codes are signed."""
    eye = torch.eye(ctx.d_in)
    return AffineSAE(W_enc=eye, W_dec=eye, activation="identity", meta={"architecture": "identity"})


BASELINE = Baseline(
    name="neurons", description="the model's own dimensions as latents", kind="dictionary baseline", make=make
)
