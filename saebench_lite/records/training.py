"""What the metadata of an SAE tell of its training: recipe and seed."""

from __future__ import annotations

from collections.abc import Mapping

from saebench_lite.files import digest

CURVE = "training_curve"
"Key of metadata: figures of the training, as `recipes.training_curve` writes them."
OUTCOMES = ("held_out", CURVE, "seconds", "seed", "panel", "sample_l0")
"Metadata that training results in or that name the run: they do not tell recipes apart."


def training_facts(meta: Mapping[str, object]) -> dict[str, object]:
    """Metadata with those of the recipe, where there is one, over those of the SAE itself."""
    recipe = meta.get("recipe")
    return {**meta, **recipe} if isinstance(recipe, dict) else dict(meta)


def training_seed(meta: Mapping[str, object]) -> int | None:
    """The seed that an SAE was trained with; None where it is not told."""
    seed = training_facts(meta).get("seed")
    return seed if isinstance(seed, int) else None


def recipe_key(meta: Mapping[str, object]) -> str:
    """Equal for metadata that agree on all but the training seed and what training resulted in."""
    kept = {k: v for k, v in meta.items() if k not in OUTCOMES}
    for part in ("recipe", "fine_tune"):
        if isinstance(recipe := kept.get(part), dict):
            kept[part] = {k: v for k, v in recipe.items() if k not in OUTCOMES}
    return digest(kept)
