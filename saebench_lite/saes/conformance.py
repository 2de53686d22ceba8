"""Does an object satisfy the SAE protocol? One sentence about the first thing that does not fit."""

from __future__ import annotations

import torch
from torch import Tensor

from saebench_lite.errors import SaebenchError
from saebench_lite.saes.protocol import SAE, decoder_of, device_of, output_width, reconstruct


def check_sae(sae: object, *, d_in: int | None = None, sample: Tensor | None = None) -> None:
    """Raises SaebenchError with one sentence about the first thing wrong with `sae`; returns None if it conforms.

    `d_in` is the width of the site it will be used at; `sample` [n >= 5, d_in] are activations to try it on (normal
    random numbers otherwise). Asked: are the members there, do shapes agree with d_in and d_sae, is everything finite,
    does a call depend on an earlier call, does a row depend on the other rows of its batch.
    """
    for member in ("d_in", "d_sae", "encode", "decode"):
        if not hasattr(sae, member):
            raise SaebenchError(f"{type(sae).__name__} has no {member!r}; an SAE needs d_in, d_sae, encode and decode")
    assert isinstance(sae, SAE)
    for member, size in (("d_in", sae.d_in), ("d_sae", sae.d_sae)):
        if not isinstance(size, int) or size < 1:
            raise SaebenchError(f"{member} must be a positive integer, not {size!r}")
    if d_in is not None and sae.d_in != d_in:
        raise SaebenchError(
            f"the SAE reads {sae.d_in} dimensions (d_in) but the hook point has {d_in}; check model, layer and hook"
        )
    decoder, d_out = decoder_of(sae), output_width(sae)
    if decoder is not None and tuple(decoder.shape) != (sae.d_sae, d_out):
        hint = "; it is transposed" if tuple(decoder.shape) == (d_out, sae.d_sae) else ""
        raise SaebenchError(
            f"decoder has shape {list(decoder.shape)} but [d_sae, d_in] = {[sae.d_sae, d_out]} is needed{hint}"
        )
    if decoder is not None and not torch.isfinite(decoder).all():
        raise SaebenchError("decoder holds NaN or Inf; the file is damaged or training diverged")
    if sample is None:
        sample = torch.randn(8, sae.d_in, generator=torch.Generator().manual_seed(0))
    _check_behaviour(sae, sample.to(device_of(sae), torch.float32))


@torch.no_grad()
def _check_behaviour(sae: SAE, x: Tensor) -> None:
    a, b = x[: len(x) // 2 + 1], x.flip(0)
    fa = _call("encode", sae.encode, a, sae.d_sae)
    once = _call("decode", lambda f: reconstruct(sae, a, f), fa, output_width(sae))
    sae.encode(b)
    if not torch.allclose(reconstruct(sae, a, fa), once, rtol=1e-4, atol=1e-5):
        raise SaebenchError("decode depends on an earlier encode; carry what it needs in decode_like(f, x) instead")
    if not torch.allclose(sae.encode(a), fa, rtol=1e-4, atol=1e-5):
        raise SaebenchError("encode gives different codes for the same input twice; switch off sampling and dropout")
    alone = torch.cat([sae.encode(row[None]) for row in a])
    off = (alone - fa).abs() > 1e-3 * fa.abs().max() + 1e-5
    if off.any():
        raise SaebenchError(
            "the codes of a row depend on the other rows of its batch (batch top-k in training mode?);"
            " export the SAE with a fixed threshold or per-row k"
        )


def _call(name: str, function, argument: Tensor, width: int) -> Tensor:
    """Result of one protocol call, held to shape [n, width] and finiteness."""
    try:
        out = function(argument)
    except Exception as error:
        raise SaebenchError(f"{name} failed on a float32 tensor {list(argument.shape)}: {error}") from error
    want = [argument.shape[0], width]
    if not isinstance(out, Tensor):
        raise SaebenchError(f"{name} must return a tensor of shape {want}, not {type(out).__name__}")
    if list(out.shape) != want:
        hint = "; are the weights transposed?" if list(out.shape) == want[::-1] else ""
        raise SaebenchError(f"{name} returned shape {list(out.shape)} where {want} was expected{hint}")
    if not torch.isfinite(out).all():
        raise SaebenchError(f"{name} returned NaN or Inf on finite input")
    return out
