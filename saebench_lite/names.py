"""Names with a meaning of their own, wherever they are read: models that are not on a hub, and their hook."""

from __future__ import annotations

from typing import Literal, NamedTuple

PICO = "pico"
"The bundled model."
PICO_HOOK = "blocks.2.hook_resid_post"
"Where its bundled SAEs were trained."
WORLD = "world:"
"What the name of a synthetic world begins with."
WORLD_HOOK = "world"
"The only hook of a synthetic world."
RANDOM = "random:"
"What the name of a model with fresh weights begins with."


class ModelName(NamedTuple):
    """A model's name, taken apart."""

    kind: Literal["bundled", "world", "random", "pretrained"]
    base: str
    "The world's name, the model whose weights are drawn afresh, or the name itself."

    @property
    def default_hook(self) -> str | None:
        """The hook of a run that names none; None where a run must name one."""
        if self.kind == "world":
            return WORLD_HOOK
        return PICO_HOOK if self.base == PICO else None


def read_model_name(name: str) -> ModelName:
    """What a model's name means: `pico`, `world:NAME`, `random:NAME`, else a hub id or a local folder."""
    if name.startswith(WORLD):
        return ModelName("world", name.removeprefix(WORLD))
    if name.startswith(RANDOM):
        return ModelName("random", name.removeprefix(RANDOM))
    return ModelName("bundled" if name == PICO else "pretrained", name)
