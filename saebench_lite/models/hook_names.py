"""One name for each place in a model, however it is written, and the names that there are.

Canonical are `blocks.N.hook_resid_pre`, `_resid_post`, `_attn_out` and `_mlp_out`, as in TransformerLens, where the
place is one of these, and else the path of the module. `names.read_hook_name` tells other ways of writing the first.
"""

from __future__ import annotations

import difflib
import re
from typing import NamedTuple

from torch import nn

from saebench_lite.errors import SaebenchError
from saebench_lite.models.hookpoints import KINDS, HookPoint, find_module, parse_hook
from saebench_lite.names import read_hook_name


class Hooks(NamedTuple):
    """The hook points of a model."""

    kinds: tuple[str, ...]
    "Those of each block: resid_pre, resid_post, attn_out, mlp_out, where the architecture's are known."
    layers: int
    blocks: str
    "Path of the list of blocks."
    modules: tuple[str, ...]
    "Paths of all modules."

    @property
    def names(self) -> list[str]:
        """Canonical names of those in blocks."""
        return [f"blocks.{n}.hook_{kind}" for n in range(self.layers) for kind in self.kinds]


def hooks_of(net: nn.Module, blocks: nn.ModuleList) -> Hooks:
    """The hook points of a model with these blocks."""
    path = next(name for name, module in net.named_modules() if module is blocks)
    kinds = tuple(kind for kind in KINDS if _module(net, blocks, f"blocks.0.hook_{kind}") is not None)
    return Hooks(kinds, len(blocks), path, tuple(name for name, _ in net.named_modules() if name))


def canonical(net: nn.Module, blocks: nn.ModuleList, hook: str) -> str:
    """The canonical name of the place that `hook` names; SaebenchError with near misses where there is none.

    A path of a module that exists means that module; a name that no module has is read as `names.read_hook_name` says,
    or as the end of exactly one path.
    """
    name, hooks = hook.strip(), hooks_of(net, blocks)
    for path in (name, name.removesuffix(".output")):
        if path in hooks.modules:
            return _of_module(net, blocks, hooks, path)
    own = name.startswith(f"{hooks.blocks}.")
    read = read_hook_name(f"blocks{name.removeprefix(hooks.blocks)}" if own else name)
    if read is not None:
        if read.layer >= len(blocks):
            raise SaebenchError(
                f"hook {hook!r} does not exist: the model has {len(blocks)} blocks, 0 to {len(blocks) - 1};"
                f" saebench-lite inspect --model MODEL lists its hooks"
            )
        known = f"blocks.{read.layer}.hook_{read.kind}"
        if known in hooks.names:
            return known
    else:
        within = name.removesuffix(".output")
        ends = [path for path in hooks.modules if path.endswith(f".{within}")] if "." in within else []
        ends = [path for path in ends if path.startswith(f"{hooks.blocks}.")] or ends
        if len(ends) == 1:
            return _of_module(net, blocks, hooks, ends[0])
    raise SaebenchError(
        f"hook {hook!r} does not exist in {type(net).__name__}; close: {', '.join(_close(name, hooks))};"
        f" saebench-lite inspect --model MODEL lists its hooks"
    )


def _of_module(net: nn.Module, blocks: nn.ModuleList, hooks: Hooks, path: str) -> str:
    """The canonical name of a module's output: that of its block's hook point whose module it is, else its path."""
    match = re.match(re.escape(hooks.blocks) + r"\.(\d+)(?:\.|$)", path)
    if match:
        module = net.get_submodule(path)
        for kind in ("resid_post", "attn_out", "mlp_out"):
            name = f"blocks.{match[1]}.hook_{kind}"
            if _module(net, blocks, name) is module:
                return name
    return path


def _module(net: nn.Module, blocks: nn.ModuleList, name: str) -> nn.Module | None:
    """The module of a canonical name; None where the block has none that is known."""
    point: HookPoint = parse_hook(name)
    try:
        return find_module(net, blocks, point)
    except SaebenchError:
        return None


def _close(name: str, hooks: Hooks) -> list[str]:
    """Up to three names of hook points that look like `name`; the first block's where none does."""
    near = difflib.get_close_matches(name, [*hooks.names, *hooks.modules], n=3, cutoff=0.5)
    return near or hooks.names[: len(hooks.kinds)]
