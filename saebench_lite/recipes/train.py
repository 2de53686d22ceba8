"""An SAE trained on one's own texts in one call."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from saebench_lite.activations.store import collect
from saebench_lite.data.types import Corpus
from saebench_lite.errors import SaebenchError
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.models.protocol import Model
from saebench_lite.names import AUTO_DEVICE, PICO, PICO_HOOK
from saebench_lite.recipes.loop import train_sae
from saebench_lite.recipes.recipe import SAERecipe
from saebench_lite.recipes.trainer import TrainedSAE


def train(
    texts: Sequence[str],
    recipe: SAERecipe | None = None,
    *,
    model: str | Model = PICO,
    hook: str = PICO_HOOK,
    device: str = AUTO_DEVICE,
) -> TrainedSAE:
    """An SAE trained on a model's activations over texts, for `saebench_lite.run`.

    Its `meta` holds the model, the hook, the recipe, under `held_out` L0, explained variance and dead fraction on 2 %
    of the tokens, and under `training_curve` the same of some batches during training. All activations lie in memory
    (4 bytes a number). Equal texts are read once; each is cut at the model's context.
    `saebench_lite.loaders.native.save(sae, folder)` writes it.

    Args:
        texts: to train on.
        recipe: architecture, size, sparsity, steps and seed; by default TopK, eight latents a dimension, an L0 of 32.
        model: name of a model, or a loaded one.
        hook: where its activations are read.
        device: where a model given by name and the training run; by default the first CUDA device, or the CPU.

    Raises:
        SaebenchError: No texts, fewer than 50 tokens in all, or what the model or the hook do not allow.
    """
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise SaebenchError("texts is no list of texts; give at least one text in a list")
    if not texts:
        raise SaebenchError("texts is an empty list; give at least one text")
    lm = LanguageModel.load(model, device=device) if isinstance(model, str) else model
    acts, _ = collect(lm, hook, Corpus("training", tuple(dict.fromkeys(texts))))
    x = acts.x[torch.randperm(acts.tokens, generator=torch.Generator().manual_seed(0))]
    if recipe is None:
        recipe = SAERecipe(architecture="topk", d_sae=8 * x.shape[1], l0=32)
    meta = {"model": lm.name, "hook": lm.hook_name(hook), "token_rule": lm.positions(hook).code}
    return train_sae(x, recipe, device=str(lm.device), meta=meta | {"training_tokens": len(x)})
