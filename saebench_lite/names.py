"""Names with a meaning of their own, wherever they are read: models that are not on a hub, and their hook."""

from __future__ import annotations

import re
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
ELSEWHERE = "its own metadata name"
"Begins the warning in the record of an SAE that was scored where it does not belong."
AUTO_DEVICE = "auto"
"The device of a run that names none: the first CUDA device, or the CPU where there is none."


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


HookKind = Literal["resid_pre", "resid_post", "attn_out", "mlp_out"]
"A place in a block: the residual stream before or after it, or what its attention or MLP adds to the stream."
_KIND = r"(?:hook_)?(?P<kind>resid_pre|resid_post|attn_out|mlp_out)"
_LISTS = r"(?:model|language_model|transformer|gpt_neox|decoder|encoder|bert)"
_BLOCK = rf"(?:{_LISTS}\.)*(?:layers|layer|blocks|block|h)[._](?P<layer>\d+)"
_WRITTEN = (
    re.compile(rf"{_BLOCK}(?:\.(?P<side>input|output))?"),
    re.compile(rf"(?:{_BLOCK}|(?P<number>\d+))[._]{_KIND}"),
    re.compile(rf"{_KIND}[._](?:(?:layers|layer|blocks|block|h)[._])?(?P<layer>\d+)"),
)


class HookName(NamedTuple):
    """A place in a block."""

    kind: HookKind
    layer: int


def read_hook_name(name: str) -> HookName | None:
    """What a hook name means whatever the model; None for one that only a model's modules can tell.

    Read are TransformerLens' and SAELens' names (`blocks.5.hook_resid_post`), Hugging Face's blocks, whose output is
    meant (`model.layers.5`, `transformer.h.5.output`, `layers.5`; `.input` is what they read), and the ways of
    dictionary_learning and others (`resid_post_layer_5`, `layers.5.mlp_out`, `5.resid_post`). In any case.
    """
    for pattern in _WRITTEN:
        if match := pattern.fullmatch(name.strip().lower()):
            found = match.groupdict()
            layer = int(found["layer"] or found.get("number") or 0)
            match found.get("kind"):
                case "resid_pre" | "resid_post" | "attn_out" | "mlp_out" as kind:
                    return HookName(kind, layer)
                case _:
                    return HookName("resid_pre" if found["side"] == "input" else "resid_post", layer)
    return None
