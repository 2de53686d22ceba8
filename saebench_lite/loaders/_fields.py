"""What loaders share: values out of configurations, facts out of paths, matrices the right way round."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from saebench_lite.errors import SaebenchError
from saebench_lite.loading.readers import json_object
from saebench_lite.loading.untrusted import brief, listed


def section(cfg: Mapping[str, object], key: str) -> dict[str, object]:
    """The object under `key`, or an empty one."""
    value = cfg.get(key)
    return value if isinstance(value, dict) else {}


def text(cfg: Mapping[str, object], *keys: str) -> str | None:
    """The first string under the keys that is fit to be shown: not empty, no control characters, not endless."""
    for key in keys:
        if isinstance(value := cfg.get(key), str) and value and value.isprintable() and len(value) <= 200:
            return value
    return None


def number(cfg: Mapping[str, object], key: str) -> float | None:
    """A finite number under `key`, or None."""
    value = cfg.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e30:
        return None
    return value


def whole(cfg: Mapping[str, object], key: str) -> int | None:
    """A whole number under `key` (4.0 counts), or None."""
    value = number(cfg, key)
    return int(value) if value is not None and value == int(value) else None


def flag(cfg: Mapping[str, object], key: str, default: bool, where: str) -> bool:
    """A boolean under `key`; anything else but null is an error, since it decides what is computed.

    Args:
        cfg: a configuration.
        key: the field.
        default: where it is absent or null.
        where: what messages call the file.
    """
    value = cfg.get(key)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise SaebenchError(f"{where} has {key} = {brief(value)}; true or false is needed")
    return value


def optional_json(path: Path) -> dict[str, object]:
    """The object in a JSON file, or an empty one if there is no such file."""
    return json_object(path) if path.is_file() else {}


def take(tensors: Mapping[str, object], where: str, *names: str) -> Tensor:
    """The tensor under the first of the names that is there; SaebenchError if none is."""
    for name in names:
        if isinstance(tensor := tensors.get(name), Tensor):
            return tensor.to(torch.float32)
    raise SaebenchError(f"{where} lacks the tensor {' or '.join(names)}; it holds {listed(tensors)}")


def matrix(tensors: Mapping[str, object], where: str, name: str, *, axis: int, size: int, transposed: bool) -> Tensor:
    """The matrix `name` with `size` along `axis`.

    The shape decides which way round it was stored; where both sides are `size`, `transposed` (the format's rule) does.

    Args:
        tensors: of a file.
        where: what messages call the file.
        name: of the matrix.
        axis: the one whose size is known.
        size: of that axis.
        transposed: whether the format stores it transposed.
    """
    tensor = take(tensors, where, name)
    if tensor.ndim != 2 or size not in tensor.shape:
        shape = list(tensor.shape)
        raise SaebenchError(f"{where}: {name} has shape {shape}, but a matrix with a side of {size} is needed")
    flip = transposed if tensor.shape[0] == tensor.shape[1] else tensor.shape[axis] != size
    return tensor.T.contiguous() if flip else tensor


def pair(
    tensors: Mapping[str, object], where: str, encoder: str, decoder: str, d_sae: int, *, linear: bool
) -> dict[str, Any]:  # Any: arguments of AffineSAE, to which loaders add others than tensors
    """W_enc [d_in, d_sae] and W_dec [d_sae, d_out].

    Args:
        tensors: of a file.
        where: what messages call the file.
        encoder: name of the encoder matrix.
        decoder: name of the decoder matrix.
        d_sae: number of latents.
        linear: whether both are stored as torch.nn.Linear does, [out, in].
    """
    return {
        "W_enc": matrix(tensors, where, encoder, axis=1, size=d_sae, transposed=linear),
        "W_dec": matrix(tensors, where, decoder, axis=0, size=d_sae, transposed=linear),
    }


def vector(tensors: Mapping[str, object], where: str, *names: str) -> Tensor:
    """The vector under the first of the names that is there."""
    tensor = take(tensors, where, *names)
    if tensor.ndim != 1:
        raise SaebenchError(f"{where}: {names[0]} has shape {list(tensor.shape)}, but a vector is needed")
    return tensor


def spread(threshold: Tensor, d_sae: int, where: str) -> Tensor:
    """A threshold for each latent, from one for each or one for all. [d_sae]"""
    if threshold.numel() == 1:
        return threshold.reshape(1).expand(d_sae).clone()
    if tuple(threshold.shape) != (d_sae,):
        raise SaebenchError(f"{where}: threshold has shape {list(threshold.shape)}, but [{d_sae}] is needed")
    return threshold


def unit_decoder(parts: dict[str, Tensor]) -> dict[str, Tensor]:
    """Latents in units of unit-norm decoder rows: the same output from W_enc, b_enc, W_dec rescaled. Zero rows stay."""
    norms = parts["W_dec"].norm(dim=1)
    scaled = {"W_enc": parts["W_enc"] * norms, "b_enc": parts["b_enc"] * norms}
    return parts | scaled | {"W_dec": parts["W_dec"] / torch.where(norms > 0, norms, 1.0)[:, None]}


def from_path(path: Path, pattern: str) -> re.Match[str] | None:
    """The last place in the path (deepest folder first) that matches a pattern, letter case ignored."""
    for part in reversed(path.absolute().parts):
        if match := re.search(pattern, part, re.IGNORECASE):
            return match
    return None


def published_l0(path: Path) -> int | None:
    """The L0 a path tells, as in average_l0_71, l0-40 or L0_100."""
    match = from_path(path, r"(?:^|[^a-z])l0[_-](\d+)(?!\d)")
    return int(match[1]) if match else None


def meta(
    *,
    format: str,
    architecture: str,
    inference: str,
    normalize: str = "none",
    hook: str | None = None,
    model: str | None = None,
    published_l0: float | None = None,
    **more: object,
) -> dict[str, object]:
    """The facts every loader states.

    Args:
        format: name of the loader.
        architecture: as the format calls it.
        inference: how latents are chosen, e.g. "top-k of each row".
        normalize: of the input.
        hook: where it was trained, if told.
        model: what it was trained on, if told.
        published_l0: if told.
        **more: facts of the format; None is left out.
    """
    facts = {
        "format": format,
        "architecture": architecture,
        "inference": inference,
        "normalize": normalize,
        "hook": hook,
        "model": model,
        "published_l0": published_l0,
    }
    return facts | {key: value for key, value in more.items() if value is not None}


RELU = "pre-activations above 0"
TOPK = "top-k of each row"
THRESHOLD = "pre-activations above a threshold for each latent"
ONE_THRESHOLD = "pre-activations above one learnt threshold"
GATED = "gate above 0"
