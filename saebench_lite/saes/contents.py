"""What a live object consists of, as digests by path: its tensors, its plain attributes and the code that reads them.

Code counts as it is loaded, not as its file reads now. Of installed packages, Python and torch only names are read.
"""

from __future__ import annotations

import functools
import hashlib
import sys
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from numbers import Number
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

DEPTH = 24
"Levels of attributes below which nothing is read."
_PLAIN = (str, bytes, Number, type(None), type(Ellipsis), torch.dtype, slice, range)
_CLOSED = {*sys.stdlib_module_names, "torch", "numpy"}
_OF_TORCH = {*vars(nn.Module())} - {"training", "_forward_hooks", "_forward_pre_hooks"} | {"_is_full_backward_hook"}


def digest_of(*things: object) -> str:
    """SHA-256 over all that things consist of, such as the functions that make a baseline."""
    return summed(Contents().read(things))


def summed(leaves: Mapping[str, str]) -> str:
    """SHA-256 over what `Contents.read` gives."""
    return hashlib.sha256(repr(sorted(leaves.items())).encode("utf-8", "backslashreplace")).hexdigest()


class Contents:
    """Reads objects; a tensor that stays as it is is hashed once for several readings.

    Left out are `device`s, properties that are cached, and what no other process could tell: locks, files, generators.

    Args:
        without: attributes of the object itself that are not read.
        known: tells the identity of an object that knows its own, or None.
    """

    def __init__(
        self, without: tuple[str, ...] = (), known: Callable[[object], str | None] = lambda value: None
    ) -> None:
        self.without, self.known = without, known
        self._hashed: dict[tuple[object, ...], tuple[Tensor, str]] = {}
        self._leaves: dict[str, str] = {}
        self._seen: dict[int, tuple[object, str]] = {}

    def read(self, thing: object) -> dict[str, str]:
        """Digest or text by path. A container stands for its size, so that one that grows is seen to."""
        self._leaves, self._seen = {}, {}
        self._add("", thing, 0)
        return self._leaves

    def _add(self, path: str, value: Any, depth: int) -> None:  # Any: told apart here
        if isinstance(value, Tensor | np.ndarray):
            self._leaves[path] = self._tensor(value)
        elif isinstance(value, _PLAIN):
            self._leaves[path] = f"{type(value).__name__} {value!r}"
        elif id(value) in self._seen:
            self._leaves[path] = f"as {self._seen[id(value)][1]}"
        elif depth < DEPTH:
            self._seen[id(value)] = value, path
            with suppress(Exception):  # foreign objects: what cannot be read is left out
                self._parts(path, value, depth + 1)

    def _parts(self, path: str, value: Any, depth: int) -> None:
        if (identity := self.known(value) if path else None) is not None:
            self._leaves[path] = identity
        elif isinstance(value, Mapping):
            self._leaves[path] = f"mapping of {len(value)}"
            for key in sorted((k for k in value if isinstance(k, _PLAIN)), key=repr):
                self._add(f"{path}[{key!r}]", value[key], depth)
        elif isinstance(value, list | tuple):
            self._leaves[path] = f"list of {len(value)}"
            if all(isinstance(v, _PLAIN) for v in value):
                self._leaves[path] += repr([*value])
            else:
                for i, part in enumerate(value):
                    self._add(f"{path}[{i}]", part, depth)
        elif isinstance(value, set | frozenset):
            self._leaves[path] = f"set {sorted(repr(v) for v in value if isinstance(v, _PLAIN))}"
        elif isinstance(value, type):
            self._class(path, value, depth)
        elif isinstance(value, functools.partial):
            self._add(path, (value.func, value.args, value.keywords), depth)
        elif isinstance(value, types.MethodType):
            self._add(path, (value.__func__, value.__self__), depth)
        elif isinstance(value, types.FunctionType):
            self._function(path, value, depth)
        elif isinstance(value, types.BuiltinFunctionType):
            self._leaves[path] = f"builtin {value.__qualname__}"
        elif hasattr(value, "__array__"):  # of another library
            self._leaves[path] = self._tensor(np.asarray(value))
        elif isinstance(value, nn.Module | types.SimpleNamespace) or not _is_closed(type(value)):
            self._object(path, value, depth)

    def _object(self, path: str, value: Any, depth: int) -> None:
        kind = type(value)
        self._class(f"{path}:class", kind, depth)
        parts = dict(getattr(value, "__dict__", {}))
        slots = [vars(c).get("__slots__", ()) for c in kind.__mro__]
        names = [n for group in slots for n in ((group,) if isinstance(group, str) else group)]
        parts |= {n: getattr(value, n) for n in names if n not in ("__dict__", "__weakref__") and hasattr(value, n)}
        if isinstance(value, nn.Module):
            parts = {n: v for n, v in parts.items() if n not in _OF_TORCH}
            parts |= dict(value.named_parameters(recurse=False, remove_duplicate=False))
            parts |= {**dict(value.named_buffers(recurse=False)), **dict(value.named_children())}
        for name, part in sorted(parts.items()):
            left_out = name == "device" or (not path and name in self.without)
            if not left_out and not isinstance(getattr(kind, name, None), functools.cached_property):
                self._add(f"{path}.{name}", part, depth)

    def _class(self, path: str, kind: type, depth: int) -> None:
        self._leaves[path] = f"class {kind.__qualname__}"
        for base in kind.__mro__:
            if _is_closed(base) or _is_installed(getattr(sys.modules.get(base.__module__), "__file__", None)):
                continue
            for name, member in sorted(vars(base).items()):
                if name == "__init__" or (name.startswith("__") and not callable(member)):
                    continue  # what it makes is in the attributes
                self._add(f"{path}/{base.__qualname__}.{name}", _function_of(member), depth)

    def _function(self, path: str, function: types.FunctionType, depth: int) -> None:
        self._leaves[path] = f"function {function.__qualname__}"
        if _is_closed(function) or _is_installed(function.__code__.co_filename):
            return
        self._leaves[path] += _code(function.__code__)
        cells = [cell.cell_contents for cell in function.__closure__ or () if cell != types.CellType()]
        self._add(f"{path}()", [cells, function.__defaults__, function.__kwdefaults__], depth)
        names = _names(function.__code__)
        for name in sorted(names & function.__globals__.keys()):
            value = function.__globals__[name]
            if not isinstance(value, types.ModuleType):
                self._add(f"{path}>{name}", value, depth)
            elif not _is_closed(value) and not _is_installed(getattr(value, "__file__", None)):
                for part in sorted(names & vars(value).keys()):
                    self._add(f"{path}>{name}.{part}", vars(value)[part], depth)

    def _tensor(self, value: Tensor | np.ndarray) -> str:
        if isinstance(value, np.ndarray):
            return _bytes(torch.from_numpy(np.ascontiguousarray(value).reshape(-1).view(np.uint8)))
        with suppress(Exception):  # a tensor without values or without a place in memory
            key = (value.data_ptr(), value._version, tuple(value.shape), value.stride(), value.dtype)
            if key not in self._hashed:
                self._hashed[key] = value, _bytes(value)  # kept, so that its place in memory stays its own
            return self._hashed[key][1]
        with suppress(Exception):
            return _bytes(value)
        return f"tensor {list(value.shape)}"


def _bytes(tensor: Tensor) -> str:
    flat = (tensor if tensor.layout == torch.strided else tensor.to_dense()).detach().cpu().reshape(-1).contiguous()
    return f"{tensor.dtype} {list(tensor.shape)} {_sha(flat)}"


def _sha(flat: Tensor) -> str:
    raw: Any = flat.view(torch.uint8).numpy()  # a buffer, which its type does not say
    return hashlib.sha256(raw).hexdigest()


def _is_closed(thing: Any) -> bool:
    """Whether a class, function or module belongs to Python, torch, numpy or this package."""
    module = thing.__name__ if isinstance(thing, types.ModuleType) else getattr(thing, "__module__", None) or ""
    root = module.partition(".")[0]
    return root != "__main__" and (root in _CLOSED or root == __name__.partition(".")[0])


def _is_installed(file: str | None) -> bool:
    return file is not None and ("site-packages" in file or "dist-packages" in file)


def _function_of(member: Any) -> Any:
    """What a member of a class calls; the member itself where it is no call."""
    if isinstance(member, property):
        return member.fget
    if isinstance(member, functools.cached_property):
        return member.func
    return member.__func__ if isinstance(member, staticmethod | classmethod) else member


def _code(code: types.CodeType) -> str:
    """What a function does, wherever it stands: nothing of files, lines and comments."""
    constants = [_constant(c) for c in code.co_consts]
    return f" {code.co_code.hex()} {code.co_names} {code.co_varnames} {code.co_freevars} {constants}"


def _constant(value: object) -> str:
    if isinstance(value, types.CodeType):
        return _code(value)
    return repr(sorted(map(repr, value))) if isinstance(value, frozenset) else repr(value)


def _names(code: types.CodeType) -> set[str]:
    inner = [_names(c) for c in code.co_consts if isinstance(c, types.CodeType)]
    return {*code.co_names}.union(*inner)
