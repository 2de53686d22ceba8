"""A made-up RAVEL set: animals with colours and homes, in the files of the real one."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

ANIMALS = [f"{first}{second}" for first in ("da", "ku", "mo", "ri", "se", "to") for second in "bdfgkl"]
VALUES = {"Colour": ("red", "blue", "green"), "Home": ("sea", "hill", "wood", "lake")}
PROMPTS = {
    "Colour": [f"{lead}the colour of %s is" for lead in ("", "surely ", "we know that ", "note: ", "now ", "so ")],
    "Home": [f"{lead}the home of %s is the" for lead in ("", "surely ", "we know that ", "note: ", "now ", "so ")],
}
SPLITS = ("train", "val", "test")


def facts_by_animal() -> dict[str, dict[str, str]]:
    """Values in all combinations, in each split."""
    combined = itertools.cycle(itertools.product(*VALUES.values()))
    return {animal: dict(zip(VALUES, values, strict=True)) for animal, values in zip(ANIMALS, combined, strict=False)}


def write(folder: Path, facts: dict[str, dict[str, str]] | None = None, kind: str = "animal") -> Path:
    """The four files in `folder`: of `facts_by_animal` unless others are given; by turns a dozen of each split."""
    own = facts or facts_by_animal()
    splits = {animal: SPLITS[(i // 12) % 3] for i, animal in enumerate(own)}
    prompts = {p: SPLITS[i % 3] for listed in PROMPTS.values() for i, p in enumerate(listed)}
    parts = {
        "entity_attributes": own,
        "attribute_to_prompts": PROMPTS,
        "entity_to_split": splits,
        "prompt_to_split": prompts,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for part, content in parts.items():
        (folder / f"ravel_{kind}_{part}.json").write_text(json.dumps(content))
    return folder
