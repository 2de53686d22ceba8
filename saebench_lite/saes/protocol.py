"""The protocol an SAE satisfies, the capabilities it may add, and one function for each that works without.

Shapes: x [n, d_in], codes f [n, d_sae], decoder directions [d_sae, d_in]. Everything is a function of its arguments
only; an SAE that remembers its last batch gives wrong reconstructions when calls interleave. `x` is never written to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from saebench_lite.saes.tensor_cores import Encode


@runtime_checkable
class SAE(Protocol):
    """What every SAE must offer. What it may offer besides is one small protocol each, below, of that member alone."""

    d_in: int
    d_sae: int

    def encode(self, x: Tensor, /) -> Tensor: ...

    def decode(self, f: Tensor, /) -> Tensor: ...


@runtime_checkable
class EncodesLatents(Protocol):
    """Computes the codes [n, j] of some latents (indices [j] long) without those of all."""

    def encode_latents(self, x: Tensor, indices: Tensor, /) -> Tensor: ...


@runtime_checkable
class EncodesSparse(Protocol):
    """Gives codes as values and latent indices, both [n, k]."""

    def encode_sparse(self, x: Tensor, /) -> tuple[Tensor, Tensor]: ...


@runtime_checkable
class DecodesBags(Protocol):
    """Reconstructs from the codes that are not zero, at the scale of the rows x; see `sparse_codes.Bags`."""

    def decode_bags(self, values: Tensor, indices: Tensor, starts: Tensor, x: Tensor, /) -> Tensor:
        """Reconstruction [n, d_out].

        Args:
            values: codes that are not zero, row after row. [nnz]
            indices: their latents. [nnz] long
            starts: first entry of each row. [n] long
            x: the rows that were encoded. [n, d_in]
        """
        ...


@runtime_checkable
class DecodesLike(Protocol):
    """Decodes at the scale of the rows x, for SAEs whose output depends on them (layer norm, skip connections)."""

    def decode_like(self, f: Tensor, x: Tensor, /) -> Tensor: ...


@runtime_checkable
class Movable(Protocol):
    """Can be put on another device."""

    def to(self, device: str | torch.device, /) -> SAE: ...


@runtime_checkable
class EncodesBy(Protocol):
    """Can be had with its encoder multiplied in another way, see `tensor_cores`."""

    def encoding(self, by: Encode, /) -> SAE: ...


@runtime_checkable
class HasFingerprint(Protocol):
    """Knows its own identity: a text that changes when its behaviour does."""

    def fingerprint(self) -> str: ...


@runtime_checkable
class HasMeta(Protocol):
    """Tells where it comes from; never used in a score, but for `transcoder`."""

    meta: dict[str, Any]


@runtime_checkable
class HasOutputWidth(Protocol):
    """Writes activations of width `d_out`, as a transcoder between places of different width does."""

    d_out: int


@runtime_checkable
class StandsFor(Protocol):
    """Is another SAE with something added to its calls, and on the same device."""

    stands_for: SAE


def unwrapped(sae: SAE) -> SAE:
    """The SAE that an SAE stands for, whatever was added around it; itself where nothing was."""
    while isinstance(sae, StandsFor):
        sae = sae.stands_for
    return sae


def encode_latents(sae: SAE, x: Tensor, indices: Tensor) -> Tensor:
    """Codes [n, len(indices)] of the latents `indices` (long, [j]), by the SAE's own short cut where it has one."""
    return sae.encode_latents(x, indices) if isinstance(sae, EncodesLatents) else sae.encode(x)[:, indices]


def decode_like(sae: SAE, f: Tensor, x: Tensor) -> Tensor:
    """Reconstruction [n, d_in] of codes f [n, d_sae] of the rows x [n, d_in], at their scale where that matters."""
    return sae.decode_like(f, x) if isinstance(sae, DecodesLike) else sae.decode(f)


def reconstruct(sae: SAE, x: Tensor, f: Tensor | None = None) -> Tensor:
    """Reconstruction [n, d_in] of x [n, d_in]; `f` are its codes if they are already at hand."""
    return decode_like(sae, sae.encode(x) if f is None else f, x)


def decoder_of(sae: SAE) -> Tensor | None:
    """Decoder directions [d_sae, d_in], or None where the SAE does not expose them."""
    decoder = getattr(sae, "decoder", None)  # not isinstance, which would compute a decoder made on demand twice
    return decoder if isinstance(decoder, Tensor) else None


def output_width(sae: SAE) -> int:
    """d_in, or the `d_out` of a transcoder that writes a place of another width."""
    return sae.d_out if is_transcoder(sae) and isinstance(sae, HasOutputWidth) else sae.d_in


def is_transcoder(sae: SAE) -> bool:
    """Whether the SAE says (`meta["transcoder"]`) that it writes another activation than it reads."""
    return isinstance(sae, HasMeta) and isinstance(sae.meta, dict) and bool(sae.meta.get("transcoder"))


def moved_to(sae: SAE, device: str | torch.device) -> SAE:
    """The SAE on a device; one that cannot be moved stays where it is."""
    return sae.to(device) if isinstance(sae, Movable) else sae


def encoding(sae: SAE, by: Encode) -> SAE:
    """The SAE with its encoder multiplied in another way; one that offers none stays as it is."""
    return sae.encoding(by) if isinstance(sae, EncodesBy) else sae


def meta_of(sae: SAE) -> dict[str, Any]:  # Any: facts of any JSON type, which readers pick by name
    """A copy of what an SAE tells of itself in JSON types, empty where it tells nothing or no mapping."""
    meta = sae.meta if isinstance(sae, HasMeta) else None
    return json_types(dict(meta)) if isinstance(meta, Mapping) else {}


def json_types(value: object, depth: int = 16) -> Any:  # Any: the JSON type depends on the value
    """A value as strict JSON can hold it: numbers that are not finite and all foreign types become text.

    Keys become text, tuples and sets become lists, a tensor or array of one number that number; what lies deeper than
    `depth` levels becomes the name of its type, so that a value that holds itself ends.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # lone surrogates
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else str(float(value))
    if depth and isinstance(value, Mapping):
        return {json_types(_text(k)): json_types(v, depth - 1) for k, v in value.items()}
    if depth and isinstance(value, list | tuple | set | frozenset):
        return [json_types(v, depth - 1) for v in value]
    if isinstance(value, Tensor):
        single = value.numel() == 1 and depth
        return json_types(value.item(), depth - 1) if single else f"tensor of shape {list(value.shape)}"
    return _text(value) if depth else type(value).__name__


def _text(value: object) -> str:
    """At most 1,000 characters; the type's name where the value cannot be printed."""
    try:
        return str(value)[:1000]
    except Exception:  # noqa: BLE001  (foreign code)
        return type(value).__name__


def dense(t: Tensor) -> Tensor:
    """The tensor dense and in float32."""
    return (t if t.layout == torch.strided else t.to_dense()).to(torch.float32)


def device_of(sae: SAE) -> torch.device:
    """The device the SAE's weights live on (CPU where it shows none)."""
    sae = unwrapped(sae)
    decoder = decoder_of(sae)
    if decoder is not None:
        return decoder.device
    if isinstance(sae, torch.nn.Module):
        for parameter in sae.parameters():
            return parameter.device
    return torch.device("cpu")
