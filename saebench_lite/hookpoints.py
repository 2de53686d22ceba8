"""Names of places in a model, and where each architecture keeps them. No transformers import here."""

from __future__ import annotations

import difflib
import re
from typing import Literal, NamedTuple

from torch import nn

from saebench_lite.errors import SaebenchError

Kind = Literal["resid_pre", "resid_post", "attn_out", "mlp_out", "module"]

BLOCK_LISTS = (
    "model.layers",
    "model.language_model.layers",
    "language_model.model.layers",
    "transformer.h",
    "gpt_neox.layers",
    "model.decoder.layers",
    "decoder.layers",
    "bert.encoder.layer",
    "encoder.layer",
    "layers",
    "h",
)
"""Where known architectures keep their blocks, with a head and without one."""

ADDED = {
    "attn_out": ("attn", "attention.output.dense", "attention", "self_attn"),
    "mlp_out": ("post_feedforward_layernorm", "mlp", "output.dense", "fc2"),
}
"""Sub-modules of a block whose output is what the block adds to the residual stream, first match wins."""


class HookPoint(NamedTuple):
    """A parsed hook name."""

    name: str
    kind: Kind
    layer: int
    "Block number; -1 for a module path."


def parse_hook(name: str) -> HookPoint:
    """`blocks.N.hook_resid_pre|hook_resid_post|hook_attn_out|hook_mlp_out`, or any module path."""
    match = re.fullmatch(r"blocks\.(\d+)\.hook_(resid_pre|resid_post|attn_out|mlp_out)", name)
    if match:
        return HookPoint(name, match[2], int(match[1]))  # type: ignore[arg-type]
    return HookPoint(name, "module", -1)


def find_blocks(net: nn.Module) -> nn.ModuleList:
    """The model's list of transformer blocks: at a known path, else the longest list of modules of one class."""
    modules = dict(net.named_modules())
    for path in BLOCK_LISTS:
        if isinstance(found := modules.get(path), nn.ModuleList):
            return found
    lists = [m for m in modules.values() if isinstance(m, nn.ModuleList) and len({type(b) for b in m}) == 1]
    if not lists:
        raise SaebenchError(f"{type(net).__name__} has no list of blocks; name the hook by its module path instead")
    return max(lists, key=len)


def find_module(net: nn.Module, blocks: nn.ModuleList, hook: HookPoint) -> nn.Module:
    """The module whose output (resid_pre: whose input) is the activation; SaebenchError if there is none."""
    if hook.kind == "module":
        modules = dict(net.named_modules())
        if hook.name not in modules or not hook.name:
            close = difflib.get_close_matches(hook.name, modules, n=3, cutoff=0.4)
            example = f"; close: {', '.join(close)}" if close else ""
            raise SaebenchError(
                f"hook {hook.name!r} does not exist in {type(net).__name__}; write blocks.N.hook_resid_post"
                f" (N from 0 to {len(blocks) - 1}) or a module path{example}"
            )
        return modules[hook.name]
    if hook.layer >= len(blocks):
        raise SaebenchError(
            f"hook {hook.name!r} does not exist: the model has {len(blocks)} blocks, 0 to {len(blocks) - 1}"
        )
    block = blocks[hook.layer]
    if hook.kind in ("resid_pre", "resid_post"):
        return block
    inside = dict(block.named_modules())
    sandwich = "post_feedforward_layernorm" in inside  # Gemma 2/3 norm what they add
    if hook.kind == "attn_out" and sandwich:
        return inside["post_attention_layernorm"]
    for path in ADDED[hook.kind]:
        if path in inside:
            return inside[path]
    raise SaebenchError(f"{type(block).__name__} has no {hook.kind} that is known; name the module by its path")
