"""Soft-frozen SAEs of SmolLM2: decoder rows that may only lean towards the data, at the width and L0 of the folder's.

Each row keeps a cosine of at least 0.8 with its random start (Korznikov et al., arXiv:2602.14111). They are trained on
texts of the kind that the folder's SAEs were trained on, not on those that candidates are scored on.
"""

from __future__ import annotations

from pathlib import Path

from saebench_lite.loaders import native
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.recipes.loop import train_sae
from saebench_lite.recipes.recipe import SAERecipe
from saebench_lite.recipes.train_sae import save, training_acts
from saebench_lite.saes.protocol import SAE

ROLE = "soft-frozen"
WIDTH, ACTIVE = 4096, 32
TOKENS, SPELLING = 400_000, 0.05
STEPS, BATCH, RATE = 3000, 1024, 5e-4
SEEDS = (0,)
"Of the training; each has its own random directions."


def names() -> list[str]:
    """Folders of all trainings."""
    return [f"{ROLE}_batchtopk_{WIDTH}_l0_{ACTIVE}_seed_{seed}" for seed in SEEDS]


def trained(name: str, lm: LanguageModel, hook: str, folder: Path) -> SAE:
    """The SAE called `name`; where the folder lacks it, it and all others that are missing are trained first."""
    missing = [n for n in names() if not native.recognise(folder / n)]
    if name in missing:
        acts = training_acts(lm, hook, TOKENS, SPELLING)
        for n in missing:
            recipe = SAERecipe(
                architecture="batchtopk",
                d_sae=WIDTH,
                l0=ACTIVE,
                steps=STEPS,
                batch=BATCH,
                lr=RATE,
                frozen="soft_decoder",
                bf16=True,
                seed=int(n.rsplit("_", 1)[1]),
            )
            sae = train_sae(acts, recipe, meta={"model": lm.name, "hook": lm.hook_name(hook)})
            save(sae, folder / n, "float32")
            print(n, sae.meta["held_out"], f"{sae.meta['seconds']} s", flush=True)
    return native.load(folder / name)
