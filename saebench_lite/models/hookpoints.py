"""Names of places in a model, where each architecture keeps them, and how to read, replace or skip what is there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from saebench_lite.errors import SaebenchError

Kind = Literal["resid_pre", "resid_post", "attn_out", "mlp_out", "module"]
KINDS: dict[str, Kind] = {
    "resid_pre": "resid_pre",
    "resid_post": "resid_post",
    "attn_out": "attn_out",
    "mlp_out": "mlp_out",
}
"What may follow `blocks.N.hook_`."


BLOCK_LISTS = (
    "model.layers",
    "model.language_model.layers",
    "language_model.model.layers",
    "language_model.layers",
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
    "attn_out": (
        "post_self_attn_layernorm",
        "attn",
        "attention.output.dense",
        "attention",
        "self_attn",
        "self_attention",
    ),
    "mlp_out": ("post_feedforward_layernorm", "post_mlp_layernorm", "mlp", "output.dense", "fc2"),
}
"""Sub-modules of a block whose output is what the block adds to the residual stream, first match wins.

`hook_check` holds each model to it.
"""


Args = tuple[object, ...]
Kwargs = dict[str, object]
"Arguments of a module's forward."


Output = Tensor | tuple[Tensor, ...] | list[Tensor]
"What a module returns: the activation, alone or first."


class HookPoint(NamedTuple):
    """A parsed hook name."""

    name: str
    kind: Kind
    layer: int
    "Block number; -1 for a module path."


def parse_hook(name: str) -> HookPoint:
    """The hook point called `blocks.N.hook_resid_pre` (resid_post, attn_out, mlp_out), or the module at that path."""
    match = re.fullmatch(rf"blocks\.(\d+)\.hook_({'|'.join(KINDS)})", name)
    if match:
        return HookPoint(name, KINDS[match[2]], int(match[1]))
    return HookPoint(name, "module", -1)


def find_blocks(net: nn.Module) -> nn.ModuleList:
    """The model's list of transformer blocks: at a known path, else its longest list of modules of one class.

    SaebenchError if there is none.
    """
    modules = dict(net.named_modules())
    for path in BLOCK_LISTS:
        if isinstance(blocks := modules.get(path), nn.ModuleList):
            return blocks
    lists = [m for m in modules.values() if isinstance(m, nn.ModuleList) and len({type(b) for b in m}) == 1]
    if not lists:
        raise SaebenchError(f"{type(net).__name__} has no list of blocks; name the hook by its module path instead")
    return max(lists, key=len)


def find_module(net: nn.Module, blocks: nn.ModuleList, hook: HookPoint) -> nn.Module:
    """The module whose output (resid_pre: whose input) is the activation; SaebenchError if there is none."""
    if hook.kind == "module":
        if not hook.name or (found := dict(net.named_modules()).get(hook.name)) is None:
            raise SaebenchError(f"hook {hook.name!r} does not exist in {type(net).__name__}")
        return found
    if hook.layer >= len(blocks):
        raise SaebenchError(f"hook {hook.name!r} does not exist: the model has {len(blocks)} blocks")
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


def by_token(value: object, shape: torch.Size, hook: str) -> Tensor:
    """A module's output as [b, L, d]; [b * L, d] is accepted, as some MLPs flatten."""
    if isinstance(value, Tensor):
        flat = value.ndim == 2 and len(value) == shape.numel()
        if flat or (value.ndim >= 3 and value.shape[:2] == shape):
            return value.reshape(*shape, -1)
    what = f"a tensor of shape {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
    way_out = "choose another module"
    if parse_hook(hook).kind != "module":
        way_out = "the blocks of this architecture have another kind of stream: name a module inside them by its path"
    raise SaebenchError(f"hook {hook!r} gives {what}, not one vector per token; {way_out}")


@contextmanager
def reading(module: nn.Module, kind: Kind, store: Callable[[object], None]) -> Iterator[None]:
    """Context in which `store` is called with the module's output (resid_pre: its input) at each call."""
    if kind == "resid_pre":
        handle = module.register_forward_pre_hook(
            lambda _, args, kwargs: store(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
        )
    else:
        handle = module.register_forward_hook(lambda _, __, output: store(_first(output)))
    try:
        yield
    finally:
        handle.remove()


def writing(module: nn.Module, kind: Kind, replacement: Tensor) -> AbstractContextManager[None]:
    """Context in which the module's output (resid_pre: its input) is replaced."""
    return changing(module, kind, lambda value: replacement.clone().reshape(value.shape))  # the model may add in place


@contextmanager
def changing(module: nn.Module, kind: Kind, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Context in which the module's output (resid_pre: its input) is what `change` makes of it, a new tensor."""

    def on_input(_: nn.Module, args: Args, kwargs: Kwargs) -> tuple[Args, Kwargs]:
        given = args[0] if args else kwargs["hidden_states"]
        assert isinstance(given, Tensor)
        value = change(given)
        return ((value, *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": value})

    def on_output(_: nn.Module, __: Args, output: Output) -> Output:
        value = change(_first(output))
        if isinstance(output, list):
            return [value, *output[1:]]
        return (value, *output[1:]) if isinstance(output, tuple) else value

    if kind == "resid_pre":
        handle = module.register_forward_pre_hook(on_input, with_kwargs=True)
    else:
        handle = module.register_forward_hook(on_output)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def skipping(blocks: Sequence[nn.Module], value: Tensor, *, as_tuple: bool) -> Iterator[None]:
    """Context in which `blocks` compute nothing and the last of them returns `value`, alone or as a tuple."""

    def passing(hidden: object = None, *_: object, **kwargs: object) -> object:
        hidden = kwargs["hidden_states"] if hidden is None else hidden
        return (hidden,) if as_tuple else hidden

    def giving(*_: object, **__: object) -> object:
        return (value,) if as_tuple else value

    own = [block.__dict__.get("forward") for block in blocks]  # some libraries patch instances too
    try:
        for i, block in enumerate(blocks):
            block.forward = giving if i == len(blocks) - 1 else passing
        yield
    finally:
        for block, forward in zip(blocks, own, strict=True):
            block.__dict__.pop("forward", None)
            if forward is not None:
                block.forward = forward


def returns_tuple(block: nn.Module, forward: Callable[[], object]) -> bool:
    """Whether a block returns (hidden, ...) or hidden alone: it differs by architecture and library version."""
    seen: list[bool] = []
    handle = block.register_forward_hook(lambda _, __, output: seen.append(isinstance(output, tuple)))
    try:
        forward()
    finally:
        handle.remove()
    return seen[0]


def _first(output: Output) -> Tensor:
    return output[0] if isinstance(output, tuple | list) else output
