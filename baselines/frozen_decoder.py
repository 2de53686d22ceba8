"""Frozen decoder: a BatchTopK SAE whose decoder rows are random and never trained.

Rows are drawn with the covariance of the activations; encoder, threshold and biases learn to use them. What it scores
needs no learned directions: on Gemma 2 2B such SAEs reach 0.69 in one-latent probing where trained ones reach 0.72
(Korznikov et al., arXiv:2602.14111).
"""

from saebench_lite.api.baseline import Baseline
from saebench_lite.api.context import EvalContext
from saebench_lite.recipes.controls import train_control
from saebench_lite.saes.protocol import SAE


def make(ctx: EvalContext, seed: int) -> SAE:
    """d_sae = 8 d latents, 32 active, trained on a sample of the site's activations."""
    return train_control(ctx, seed, "decoder")


BASELINE = Baseline(
    name="frozen_decoder",
    description="an encoder trained for random decoder directions",
    kind="control",
    make=make,
    default=False,
    trains=True,
)
"Costs minutes of training, so only on request."
