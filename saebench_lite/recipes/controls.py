"""Trained controls for a site: BatchTopK SAEs of which one half was never trained (Korznikov et al., arXiv:2602.14111).

Eight latents for each dimension, 32 active, as in the random control; one recipe for all of them, so that controls of
one seed see the same activations in the same order. Products are in bfloat16 where the model runs in it.
"""

from __future__ import annotations

from pathlib import Path

import torch

from saebench_lite.activations.prepared import numbers_digest
from saebench_lite.api.context import EvalContext
from saebench_lite.errors import SaebenchError
from saebench_lite.files import digest, mark_used
from saebench_lite.loaders import native
from saebench_lite.recipes.loop import train_sae
from saebench_lite.recipes.recipe import Frozen, SAERecipe
from saebench_lite.recipes.trainer import TrainedSAE
from saebench_lite.saes.affine import AffineSAE

EXPANSION = 8
ACTIVE = 32
STEPS = 3000
TEXTS = 4096
"Texts to train on, at most."
FOLDER = "controls"
"In the cache."


def train_control(ctx: EvalContext, seed: int, frozen: Frozen) -> TrainedSAE:
    """A BatchTopK SAE of the site with the part `frozen` left at random; its recipe is in its meta.

    It is kept in the cache, where there is one, under its recipe and the activations it was trained on: minutes of
    work that an interruption or another table need not repeat.
    """
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
    x = ctx.sample(TEXTS)
    folder = (
        None
        if ctx.cache is None
        else ctx.cache / FOLDER / digest([recipe.facts(), meta, numbers_digest(x), ctx.device])
    )
    if folder is not None and (kept := _kept(folder)) is not None:
        return kept
    sae = train_sae(x, recipe, device=ctx.device, meta=meta)
    if folder is not None and isinstance(sae, AffineSAE):
        _keep(sae, folder)
    return sae


def _kept(folder: Path) -> AffineSAE | None:
    """The control of an earlier run; None where there is none, or a damaged one."""
    try:
        kept = native.load(folder) if native.recognise(folder) else None
    except SaebenchError:
        return None
    mark_used(folder)
    return kept


def _keep(sae: AffineSAE, folder: Path) -> None:
    """Stores a control, unless the cache cannot be written."""
    try:
        native.save(sae, folder)
    except OSError:
        return
