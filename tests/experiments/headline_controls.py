"""SAEs of one short recipe, once with all weights trained and once with soft-frozen directions, in pairs.

Both of a pair see the same rows in the same order for the same steps, at the width and L0 of most SAEs of the folder,
from texts of the kind those were trained on: so a difference between them is due to the directions alone. The decoder
rows of the soft-frozen one stay at a cosine of at least 0.8 with their random start (Korznikov et al.,
arXiv:2602.14111).
"""

from __future__ import annotations

from pathlib import Path

from saebench_lite.loaders import native
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.recipes.loop import train_sae
from saebench_lite.recipes.recipe import Frozen, SAERecipe
from saebench_lite.recipes.train_sae import save, training_acts
from saebench_lite.saes.protocol import SAE

WIDTH, ACTIVE = 4096, 32
TOKENS, SPELLING = 400_000, 0.05
STEPS, RATE = 3000, 5e-4
SEEDS = (0,)
"Of the training; each has its own random directions."
ROLES: dict[str, Frozen] = {"soft-frozen": "soft_decoder", "short": "none"}
"What the page calls them, and the part left near its random start."


def names() -> list[str]:
    """Folders of all trainings, first all of one seed."""
    return [f"{role}_batchtopk_{WIDTH}_l0_{ACTIVE}_seed_{seed}" for seed in SEEDS for role in ROLES]


def trained(name: str, lm: LanguageModel, hook: str, folder: Path) -> SAE:
    """The SAE called `name`; where the folder lacks it, it and all others that are missing are trained first."""
    missing = [n for n in names() if not native.recognise(folder / n)]
    if name in missing:
        acts = training_acts(lm, hook, TOKENS, SPELLING)
        for n in missing:
            role, seed = n.split("_")[0], int(n.split("_")[-1])
            shape = {"architecture": "batchtopk", "d_sae": WIDTH, "l0": ACTIVE, "frozen": ROLES[role]}
            recipe = SAERecipe(**shape, steps=STEPS, lr=RATE, bf16=True, seed=seed)
            sae = train_sae(acts, recipe, meta={"model": lm.name, "hook": lm.hook_name(hook)})
            save(sae, folder / n, "float32")
            print(n, sae.meta["held_out"], f"{sae.meta['seconds']} s", flush=True)
    return native.load(folder / name)
