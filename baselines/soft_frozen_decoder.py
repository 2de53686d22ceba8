"""Soft-frozen decoder: a BatchTopK SAE whose decoder rows stay at a cosine of at least 0.8 with their random start.

The strongest control of Korznikov et al. (arXiv:2602.14111): rows that may only lean towards the data come close to
trained ones in reconstruction and causal editing.
"""

from saebench_lite.api.baseline import Baseline
from saebench_lite.api.context import EvalContext
from saebench_lite.recipes.controls import train_control
from saebench_lite.saes.protocol import SAE


def make(ctx: EvalContext, seed: int) -> SAE:
    """d_sae = 8 d latents, 32 active, trained on a sample of the site's activations."""
    return train_control(ctx, seed, "soft_decoder")


BASELINE = Baseline(
    name="soft_frozen_decoder",
    description="an SAE whose directions stay near their random start",
    kind="control",
    make=make,
    default=False,
    trains=True,
)
"Costs minutes of training, so only on request."
