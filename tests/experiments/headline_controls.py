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
from saebench_lite.recipes.train_sae import training_acts
from saebench_lite.saes.protocol import SAE

WIDTH, ACTIVE = 4096, 32
TOKENS, SPELLING = 400_000, 0.05
STEPS, RATE = 3000, 5e-4
SEEDS = (0, 1)
"Of the training; each has its own random directions."
ROLES: dict[str, Frozen] = {"soft-frozen": "soft_decoder", "short": "none"}
"What the page calls them, and the part left near its random start."


def name_of(role: str, seed: int) -> str:
    """The folder of one training."""
    return f"{role}_batchtopk_{WIDTH}_l0_{ACTIVE}_seed_{seed}"


def trained(lm: LanguageModel, hook: str, folder: Path) -> dict[str, SAE]:
    """{name: SAE} of all roles and seeds, first all of one seed; what the folder lacks is trained."""
    names = {name_of(role, seed): (role, seed) for seed in SEEDS for role in ROLES}
    missing = [name for name in names if not native.recognise(folder / name)]
    acts = training_acts(lm, hook, TOKENS, SPELLING) if missing else None
    for name in missing:
        assert acts is not None
        role, seed = names[name]
        recipe = SAERecipe(
            architecture="batchtopk",
            d_sae=WIDTH,
            l0=ACTIVE,
            steps=STEPS,
            lr=RATE,
            frozen=ROLES[role],
            bf16=True,
            seed=seed,
        )
        sae = train_sae(acts, recipe, meta={"model": lm.name, "hook": lm.hook_name(hook)})
        native.save(sae, folder / name)
        print(name, sae.meta["held_out"], f"{sae.meta['seconds']} s", flush=True)
    return {name: native.load(folder / name) for name in names}
