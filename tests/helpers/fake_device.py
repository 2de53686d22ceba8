"""A device that is not there: tensors on it hold their numbers in main memory, and refuse to meet tensors that do not
say they are on it, as tensors on a GPU do. What runs on it to the end mixes no devices; what it gives must be what the
CPU gives. It also counts how often the host had to wait for a number.

    with far.device(): lm.net.to("far")
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

NAME = "far"
SETUP = getattr(backend_registration, "_setup_privateuseone_for_python_backend", None)
REASON = "this torch cannot register a device in Python"
_WAITS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::repeat_interleave"}
_WAITS |= {"aten::_unique2", "aten::bincount"}
_library: list[torch.library.Library] = []

waits: Counter[str] = Counter()
"How often the host waited for the device, by the line of the package that asked."


class Far(torch.Tensor):
    """A tensor that says it is far away; `near` holds its numbers."""

    near: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, near: torch.Tensor) -> Far:
        form = {"strides": near.stride(), "storage_offset": near.storage_offset(), "dtype": near.dtype}
        made = torch.Tensor._make_wrapper_subclass(cls, near.size(), **form, device=torch.device(NAME, 0))
        made.near = near
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _call(func, args, kwargs or {})

    def tolist(self) -> Any:
        _waited()
        return self.near.tolist()


class _Everything(TorchDispatchMode):
    """Sees factory functions too, which take no tensor."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _call(func, args, kwargs or {})


@contextmanager
def device() -> Iterator[None]:
    """Makes the device usable in its body; `waits` counts from zero."""
    assert SETUP is not None, REASON
    if not _library:
        SETUP(NAME)
        library = torch.library.Library("aten", "IMPL")
        library.impl("empty_strided", _empty_strided, "PrivateUse1")
        library.impl("empty.memory_format", _empty, "PrivateUse1")
        library.impl("_copy_from", _copy_from, "PrivateUse1")
        _library.append(library)
    waits.clear()
    with _Everything():
        yield


def _near(t: Any) -> Any:
    return t.near if isinstance(t, Far) else t


def _call(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = func._schema.name
    tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, torch.Tensor)]
    any_far, asked = any(isinstance(t, Far) for t in tensors), kwargs.get("device")
    goes_far = any_far if asked is None else torch.device(asked).type == NAME
    if any_far and (name in _WAITS or not goes_far):
        _waited()
    if name == "aten::copy_":
        args[0].near.copy_(_near(args[1])) if isinstance(args[0], Far) else args[0].copy_(_near(args[1]))
        return args[0]
    if name != "aten::_to_copy":
        _refuse_mixture(name, args, tensors)
    plain = {k: v for k, v in kwargs.items() if k not in ("device", "pin_memory")}
    if asked is not None and name != "aten::_to_copy":
        plain["device"] = torch.device("cpu")
    near_args, near_kwargs = tree_map(_near, (args, plain))
    out = func(*near_args, **near_kwargs)
    known = {id(t.near): t for t in tensors if isinstance(t, Far)}
    if not goes_far:
        return out
    return tree_map(lambda t: (known[id(t)] if id(t) in known else Far(t)) if isinstance(t, torch.Tensor) else t, out)


def _refuse_mixture(name: str, args: Any, tensors: list[torch.Tensor]) -> None:
    """What a GPU refuses: two devices in one call, but for numbers of no dimension and indices from main memory."""
    if name.startswith(("aten::index", "aten::_index_put")) and isinstance(args[1], list | tuple):
        if not isinstance(args[0], Far) and any(isinstance(i, Far) for i in args[1]):
            raise RuntimeError(f"{name}: a tensor in main memory is indexed by one that is far")
        tensors = [args[0], *(t for t in args[2:] if isinstance(t, torch.Tensor))]
    large = [isinstance(t, Far) for t in tensors if t.ndim]
    if any(large) and not all(large):
        raise RuntimeError(f"{name}: tensors on two devices")


def _waited() -> None:
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if any(part in file for part in ("/saebench_lite/", "/tasks/", "/baselines/")):
            waits[f"{file.rsplit('/', 1)[-1]}:{frame.f_lineno}"] += 1
            return
        frame = frame.f_back


def _empty_strided(
    size: Any, stride: Any, *, dtype: Any = None, layout: Any = None, device: Any = None, pin_memory: Any = None
) -> Far:
    return Far(torch.empty_strided(size, stride, dtype=dtype))


def _empty(
    size: Any,
    *,
    dtype: Any = None,
    layout: Any = None,
    device: Any = None,
    pin_memory: Any = None,
    memory_format: Any = None,
) -> Far:
    return Far(torch.empty(size, dtype=dtype))


def _copy_from(source: torch.Tensor, into: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    _near(into).copy_(_near(source))
    return into
