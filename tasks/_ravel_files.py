"""RAVEL's files: entities with their attributes, prompts, and the official splits of both.

For an entity type T such as `city` a folder holds `ravel_T_entity_attributes.json` {entity: {attribute: value}},
`ravel_T_attribute_to_prompts.json` {attribute: [prompt with %s for the entity]}, `ravel_T_entity_to_split.json` and
`ravel_T_prompt_to_split.json` {entity or prompt: train, val or test}. Source: Huang et al., arXiv:2402.17700,
github.com/explanare/ravel (MIT), whose `data.tgz` unpacks to them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from saebench_lite.errors import SaebenchError
from saebench_lite.files import digest

HOW = "unpack data.tgz of github.com/explanare/ravel and name its folder"
PARTS = ("entity_attributes", "attribute_to_prompts", "entity_to_split", "prompt_to_split")
SPLITS = ("train", "val", "test")


class Entities(NamedTuple):
    """One type of entity."""

    kind: str
    attributes: dict[str, dict[str, str]]
    "{entity: {attribute: value}}"
    prompts: dict[str, list[str]]
    "{attribute: prompts}, each with %s where the entity goes"
    entity_split: dict[str, str]
    prompt_split: dict[str, str]
    digest: str
    "Of the content of the files."

    def entities(self, split: str) -> list[str]:
        """Entities of a split, sorted."""
        return sorted(e for e in self.attributes if self.entity_split.get(e) == split)

    def prompts_of(self, attribute: str, split: str) -> list[str]:
        """Prompts of an attribute in a split that name their entity once, in the order of the file."""
        listed = self.prompts.get(attribute, [])
        return [p for p in listed if self.prompt_split.get(p) == split and p.count("%s") == 1]


def kinds(folder: Path) -> list[str]:
    """Types of entity whose attributes lie in the folder, sorted."""
    place, tail = data_folder(folder), "_entity_attributes.json"
    return sorted(p.name.removeprefix("ravel_").removesuffix(tail) for p in place.glob(f"ravel_*{tail}"))


def data_folder(folder: Path) -> Path:
    """The folder itself or its subfolder `data`, wherever the files lie; SaebenchError where they are in neither."""
    for place in (folder, folder / "data"):
        if any(place.glob("ravel_*_entity_attributes.json")):
            return place
    raise SaebenchError(f"{folder} holds no ravel_*_entity_attributes.json; {HOW}")


def read_entities(folder: Path, kind: str) -> Entities:
    """All that is known of a type of entity; SaebenchError that names a file that is missing or broken."""
    place = data_folder(folder)
    if kind not in kinds(folder):
        raise SaebenchError(f"{place} has no entities called {kind!r}; it has {', '.join(kinds(folder))}")
    attributes, prompts, entity_split, prompt_split = (_read(place / f"ravel_{kind}_{part}.json") for part in PARTS)
    content = digest([attributes, prompts, entity_split, prompt_split])
    return Entities(kind, attributes, prompts, entity_split, prompt_split, content)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SaebenchError(f"{path} cannot be read ({type(error).__name__}); {HOW}") from error
    if not isinstance(content, dict):
        raise SaebenchError(f"{path} holds no mapping; {HOW}")
    return content
