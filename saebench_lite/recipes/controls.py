"""Trained controls for a site: BatchTopK SAEs of which one half was never trained (Korznikov et al., arXiv:2602.14111).

Eight latents for each dimension, 32 active, as in the random control; one recipe for all of them, so that controls of
one seed see the same activations in the same order. Products are in bfloat16 where the model runs in it.
"""

from __future__ import annotations

import torch

from saebench_lite.api.context import EvalContext
from saebench_lite.recipes.loop import train_sae
from saebench_lite.recipes.recipe import Frozen, SAERecipe
from saebench_lite.recipes.trainer import TrainedSAE

EXPANSION = 8
ACTIVE = 32
STEPS = 3000
TEXTS = 4096
"Texts to train on, at most."


def train_control(ctx: EvalContext, seed: int, frozen: Frozen) -> TrainedSAE:
    """A BatchTopK SAE of the site with the part `frozen` left at random; its recipe is in its meta."""
    recipe = SAERecipe(
        architecture="batchtopk",
        d_sae=EXPANSION * ctx.d_in,
        l0=ACTIVE,
        steps=STEPS,
        frozen=frozen,
        bf16=ctx.lm.dtype is torch.bfloat16,
        seed=seed,
    )
    meta = {"model": ctx.lm.name, "hook": ctx.hook}
    return train_sae(ctx.sample(TEXTS), recipe, device=ctx.device, meta=meta)
