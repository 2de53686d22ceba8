"""The protocol an SAE satisfies, and the affine SAE that most published formats reduce to.

Shapes: x [n, d_in], codes f [n, d_sae], decoder directions [d_sae, d_in]. Everything is a function of its arguments
only; an SAE that remembers its last batch gives wrong reconstructions when calls interleave.
"""

from __future__ import annotations

import hashlib
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class SAE(Protocol):
    """What every SAE must offer.

    Optional, discovered by name: `decoder` (feature directions, [d_sae, d_in]); `encode_latents(x, indices)` (codes of
    some latents, [n, len(indices)]); `encode_sparse(x)` (values and indices, both [n, k]); `decode_sparse(values,
    indices, x)` (reconstruction from those); `decode_bags(values, indices, starts, x)` (the same where rows differ in
    how many codes are not zero; see sparse.Bags); `decode_like(f, x)` (decode for SAEs whose output scale depends on
    the input row, such as layer-normed ones).
    """

    d_in: int
    d_sae: int

    def encode(self, x: Tensor, /) -> Tensor: ...

    def decode(self, f: Tensor, /) -> Tensor: ...


def encode_latents(sae: SAE, x: Tensor, indices: Tensor) -> Tensor:
    """Codes [n, len(indices)] of the latents `indices` (long, [j]), by the SAE's own short cut where it has one."""
    short_cut = getattr(sae, "encode_latents", None)
    return short_cut(x, indices) if short_cut is not None else sae.encode(x)[:, indices]


def reconstruct(sae: SAE, x: Tensor, f: Tensor | None = None) -> Tensor:
    """Reconstruction [n, d_in] of x [n, d_in]; `f` are its codes if they are already at hand."""
    f = sae.encode(x) if f is None else f
    decode_like = getattr(sae, "decode_like", None)
    return sae.decode(f) if decode_like is None else decode_like(f, x)


def decoder_of(sae: SAE) -> Tensor | None:
    """Decoder directions [d_sae, d_in], or None where the SAE does not expose them."""
    decoder = getattr(sae, "decoder", None)
    return decoder if isinstance(decoder, Tensor) else None


def output_width(sae: SAE) -> int:
    """d_in, or the `d_out` of a transcoder that writes a place of another width."""
    return getattr(sae, "d_out", sae.d_in) if is_transcoder(sae) else sae.d_in


def is_transcoder(sae: SAE) -> bool:
    """Whether the SAE says (`meta["transcoder"]`) that it writes another activation than it reads."""
    meta = getattr(sae, "meta", None)
    return isinstance(meta, dict) and bool(meta.get("transcoder"))


def fingerprint(sae: SAE) -> str:
    """A SHA-256 that changes when the SAE's behaviour changes.

    An SAE may bring its own `fingerprint()`; torch modules are hashed by weights; anything else by what it does to a
    fixed input, rounded so that the last bits of one machine do not matter.
    """
    own = getattr(sae, "fingerprint", None)
    if own is not None:
        return own()
    sha = hashlib.sha256(f"{type(sae).__qualname__} {sae.d_in} {sae.d_sae}".encode())
    if isinstance(sae, torch.nn.Module):
        for name, tensor in sorted(sae.state_dict().items()):
            sha.update(name.encode() + tensor.detach().cpu().float().contiguous().numpy().tobytes())
    x = torch.randn(16, sae.d_in, generator=torch.Generator().manual_seed(0)).to(device_of(sae))
    with torch.no_grad():
        f = sae.encode(x)
        for out in (f, reconstruct(sae, x, f)):
            sha.update(out.float().cpu().to(torch.bfloat16).float().numpy().tobytes())
    return sha.hexdigest()


def device_of(sae: SAE) -> torch.device:
    """The device the SAE's weights live on (CPU where it shows none)."""
    decoder = decoder_of(sae)
    if decoder is not None:
        return decoder.device
    if isinstance(sae, torch.nn.Module):
        for parameter in sae.parameters():
            return parameter.device
    return torch.device("cpu")
