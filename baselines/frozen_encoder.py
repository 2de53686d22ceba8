"""Frozen encoder: a BatchTopK SAE whose encoder directions are random and never trained.

Threshold, biases and decoder are trained, so latents read random projections and only their meaning is learned
(Korznikov et al., arXiv:2602.14111).
"""

from saebench_lite.api.baseline import Baseline
from saebench_lite.api.context import EvalContext
from saebench_lite.recipes.controls import train_control
from saebench_lite.saes.protocol import SAE


def make(ctx: EvalContext, seed: int) -> SAE:
    """d_sae = 8 d latents, 32 active, trained on a sample of the site's activations."""
    return train_control(ctx, seed, "encoder")


BASELINE = Baseline(
    name="frozen_encoder",
    description="a decoder trained for random encoder directions",
    kind="control",
    make=make,
    default=False,
    trains=True,
)
"Costs minutes of training, so only on request."
