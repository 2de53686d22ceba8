"""A made-up RAVEL set: animals with colours and homes, in the files of the real one."""

from __future__ import annotations

import json
from pathlib import Path

ANIMALS = [f"{first}{second}" for first in ("da", "ku", "mo", "ri", "se", "to") for second in "bdfgklmnprst"]
VALUES = {"Colour": ("red", "blue", "green"), "Home": ("sea", "hill", "wood", "lake")}
PROMPTS = {
    "Colour": [f"{lead}the colour of %s is" for lead in ("", "surely ", "we know that ", "note: ", "now ", "so ")],
    "Home": [f"{lead}the home of %s is the" for lead in ("", "surely ", "we know that ", "note: ", "now ", "so ")],
}
SPLITS = ("train", "val", "test")


def write(folder: Path, facts: dict[str, dict[str, str]] | None = None, kind: str = "animal") -> Path:
    """The four files in `folder`, with values that cycle through all combinations unless `facts` are given."""
    cycles = {"Colour": 1, "Home": 3}
    combined = {a: {n: v[(i // cycles[n]) % len(v)] for n, v in VALUES.items()} for i, a in enumerate(ANIMALS)}
    own = facts or combined
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
