"""Does an object satisfy the SAE protocol? One sentence about the first thing that does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from saebench_lite.errors import SaebenchError, kind_of, reason
from saebench_lite.saes.adapt import adapted
from saebench_lite.saes.protocol import (
    SAE,
    DecodesBags,
    DecodesLike,
    EncodesLatents,
    EncodesSparse,
    decoder_of,
    dense,
    device_of,
    output_width,
    reconstruct,
)

T = TypeVar("T")
SAME_DIRECTION = 0.99
"Cosine from which directions are the same; sixteen-bit numbers err by less."
STRONG, STRONGEST = 10.0, 1e4
"How much a latent that is tried writes against the bias, and the largest code: what float16 holds."


def check_sae(sae: object, *, d_in: int | None = None, sample: Tensor | np.ndarray | None = None) -> None:
    """Raises SaebenchError with one sentence about the first thing wrong with `sae`; returns None if it conforms.

    `d_in` is the width of the site it will be used at; `sample` [n >= 5, d_in] are activations to try it on (normal
    random numbers otherwise). Asked: are the members there, do shapes agree with d_in and d_sae, is everything finite,
    does a call write to its input, depend on an earlier call, or on the other rows of its batch, does a latent write
    the direction that `decoder` shows for it.
    """
    conforming(sae, d_in=d_in, sample=sample)


def conforming(sae: object, *, d_in: int | None = None, sample: Tensor | np.ndarray | None = None) -> SAE:
    """The SAE with dense float32 codes, itself where it has them; SaebenchError as of `check_sae`."""
    name = type(sae).__name__
    for member in ("d_in", "d_sae", "encode", "decode"):
        if not _guarded(f"{name}.{member} cannot be read", lambda member=member: hasattr(sae, member)):
            raise SaebenchError(f"{name} has no {member!r}; an SAE needs d_in, d_sae, encode and decode")
    assert isinstance(sae, SAE)
    for member, size in (("d_in", sae.d_in), ("d_sae", sae.d_sae)):
        if not isinstance(size, Integral) or size < 1:
            raise SaebenchError(f"{member} must be a positive integer, not {size!r}")
    if d_in is not None and sae.d_in != d_in:
        raise SaebenchError(
            f"the SAE reads {sae.d_in} dimensions (d_in) but the hook point has {d_in}; check model, layer and hook"
        )
    decoder, d_out = _guarded("decoder or meta cannot be read", lambda: (decoder_of(sae), output_width(sae)))
    if decoder is None and isinstance(shown := getattr(sae, "decoder", None), np.ndarray | list | tuple):
        raise SaebenchError(f"decoder is {kind_of(shown)}; give a tensor [d_sae, d_in]")
    if decoder is not None and tuple(decoder.shape) != (sae.d_sae, d_out):
        hint = "; it is transposed" if tuple(decoder.shape) == (d_out, sae.d_sae) else ""
        raise SaebenchError(
            f"decoder has shape {list(decoder.shape)} but [d_sae, d_in] = {[sae.d_sae, d_out]} is needed{hint}"
        )
    if decoder is not None and not torch.isfinite(decoder).all():
        raise SaebenchError("decoder holds NaN or Inf; the file is damaged or training diverged")
    if sample is None:
        x = torch.randn(8, int(sae.d_in), generator=torch.Generator().manual_seed(0))
    else:
        x = _read_sample(sample, int(sae.d_in))
    plain = adapted(sae)
    x = x.to(device_of(plain), torch.float32)
    with _told_of_types(sae):
        _check_behaviour(plain, x)
    if decoder is not None:
        _check_directions(plain, x[:1], dense(decoder))
    return plain


@contextmanager
def _told_of_types(sae: object) -> Iterator[None]:
    """A failure over types of numbers says which ones meet and how to bring them together."""
    try:
        yield
    except SaebenchError as error:
        other = next((t for t in _types(sae) if t != torch.float32), None)
        if other is None or not (isinstance(error.__cause__, RuntimeError) and "dtype" in str(error.__cause__)):
            raise
        raise SaebenchError(
            f"{error}; some of its weights are {other} and rows come in float32: give its float() or convert inside"
            f" (x.to({other}) in encode, f.to({other}) in decode)"
        ) from error.__cause__


def _types(sae: object) -> set[torch.dtype]:
    """Types of the weights that an SAE shows as a module or as attributes."""
    parts = [*sae.parameters(), *sae.buffers()] if isinstance(sae, torch.nn.Module) else []
    parts += [value for value in getattr(sae, "__dict__", {}).values() if isinstance(value, Tensor)]
    return {part.dtype for part in parts if part.is_floating_point()}


def _read_sample(sample: Tensor | np.ndarray, d_in: int) -> Tensor:
    x = _guarded("sample cannot be read as a tensor", lambda: torch.as_tensor(sample))
    if x.ndim != 2 or len(x) < 5 or x.shape[1] != d_in:
        raise SaebenchError(f"sample has shape {list(x.shape)}; give activations [n, {d_in}], n at least 5")
    if not torch.isfinite(x).all():
        raise SaebenchError("sample holds NaN or Inf; give finite activations")
    return x


def _guarded(what: str, call: Callable[[], T]) -> T:
    """The result of foreign code; whatever it raises becomes one sentence."""
    try:
        return call()
    except Exception as error:
        raise SaebenchError(f"{what}: {reason(error)}") from error


@torch.no_grad()
def _check_behaviour(sae: SAE, x: Tensor) -> None:
    a = x[: len(x) // 2 + 1]
    b = x.flip(0)[: len(a)]  # as many rows, so that what was kept of them fits
    fa = _encoded(sae, a)
    once = _decoded(sae, a, fa)
    _encoded(sae, b)
    if not torch.allclose(_decoded(sae, a, fa), once, rtol=1e-4, atol=1e-5):
        raise SaebenchError("decode depends on an earlier encode; carry what it needs in decode_like(f, x) instead")
    if not torch.allclose(_encoded(sae, a), fa, rtol=1e-4, atol=1e-5):
        raise SaebenchError("encode gives different codes for the same input twice; switch off sampling and dropout")
    _check_short_cuts(sae, a, fa, once)
    alone = torch.cat([_encoded(sae, row[None]) for row in a])
    off = (alone - fa).abs() > 1e-3 * fa.abs().max() + 1e-5
    if off.any():
        raise SaebenchError(
            "the codes of a row depend on the other rows of its batch (batch top-k in training mode?);"
            " export the SAE with a fixed threshold or per-row k"
        )


@torch.no_grad()
def _check_directions(sae: SAE, x: Tensor, decoder: Tensor) -> None:
    """What a latent adds to a reconstruction lies along its row of `decoder`.

    Lengths may differ, as where outputs are scaled like the rows they are of. Latents that do not write twice as much
    at twice the code have no row that could be right, and are left out.

    Args:
        sae: under test.
        x: a row to decode like. [1, d_in]
        decoder: what it shows. [d_sae, d_out]
    """
    count = min(sae.d_sae, 32, max(4, (1 << 24) // sae.d_sae))
    latents = torch.linspace(0, sae.d_sae - 1, count, device=x.device).round().long().unique()
    rows = decoder.to(x.device)[latents]
    rank = torch.arange(len(latents), device=x.device)
    empty = reconstruct(sae, x.clone(), x.new_zeros(1, sae.d_sae)).float()
    code = (STRONG * (1 + empty.norm()) / rows.norm(dim=1).clamp(min=1e-6)).clamp(max=STRONGEST)

    def written(strength: Tensor) -> Tensor:
        codes = x.new_zeros(len(latents), sae.d_sae)
        codes[rank, latents] = strength
        return reconstruct(sae, x.repeat(len(latents), 1), codes).float() - empty

    once, twice = written(code), written(2 * code)
    linear = (twice - 2 * once).norm(dim=1) <= 0.1 * twice.norm(dim=1)
    off = linear & (rows.norm(dim=1) > 0) & (torch.cosine_similarity(once, rows) < SAME_DIRECTION)
    if off.any():
        j = int(latents[off][0])
        cosine = float(torch.cosine_similarity(once, rows)[off][0])
        raise SaebenchError(
            f"decoder is not what decode uses: latent {j} writes a direction at cosine {cosine:.2f} to decoder[{j}]"
            f" ({int(off.sum())} of {len(latents)} latents tried); mend `decoder`, or leave it out"
        )


def _check_short_cuts(sae: SAE, x: Tensor, f: Tensor, out: Tensor) -> None:
    """Members that an SAE may offer beside encode and decode say the same as these.

    Args:
        sae: under test.
        x: rows. [n, d_in]
        f: their codes. [n, d_sae]
        out: their reconstructions. [n, d_out]
    """
    width, zero = output_width(sae), torch.zeros_like(f)
    if isinstance(sae, DecodesLike) and width == x.shape[1] and f.any():
        empty = _call("decode_like", lambda codes: sae.decode_like(codes, x.clone()), zero, width)
        _hold("decode_like", "anything of the codes; it gives its rows back", not torch.allclose(empty, x, rtol=1e-3))
    if isinstance(sae, EncodesLatents):
        latents = torch.arange(0, sae.d_sae, max(1, sae.d_sae // 7), device=f.device)
        got = _call("encode_latents", lambda rows: sae.encode_latents(rows, latents), x.clone(), len(latents))
        _hold("encode_latents", "what encode gives", _near(got, f[:, latents]))
    if isinstance(sae, DecodesBags):
        (rows, latents), lengths = f.nonzero(as_tuple=True), (f != 0).sum(1)
        bags = f[rows, latents], latents, lengths.cumsum(0) - lengths
        got = _call("decode_bags", lambda x: sae.decode_bags(*bags, x), x.clone(), width)
        want = sae.decode_like(f.clone(), x.clone()) if isinstance(sae, DecodesLike) else out
        _hold("decode_bags", "what decode_like gives, or decode where there is none", _near(got, want))
    if not isinstance(sae, EncodesSparse) or (codes := _sparse(sae, x)) is None:
        return
    values, indices = codes
    fits = values.shape == indices.shape and values.shape[:1] == f.shape[:1] and not indices.is_floating_point()
    _hold("encode_sparse", "indices of latents", fits and bool(((indices >= 0) & (indices < sae.d_sae)).all()))
    _hold("encode_sparse", "what encode gives", _near(zero.scatter_add(1, indices, values), f))


def _sparse(sae: EncodesSparse, x: Tensor) -> tuple[Tensor, Tensor] | None:
    """Values and indices; None where the SAE says that it has none."""
    try:
        return _guarded("encode_sparse failed", lambda: sae.encode_sparse(x.clone()))
    except SaebenchError as error:
        if isinstance(error.__cause__, SaebenchError):
            return None
        raise


def _near(a: Tensor, b: Tensor) -> bool:
    return bool(((a - b).abs() <= 1e-3 * b.abs().max() + 1e-5).all())


def _hold(member: str, what: str, holds: bool) -> None:
    if not holds:
        raise SaebenchError(f"{member} does not give {what}; mend it, or leave it out (encode and decode are enough)")


def _encoded(sae: SAE, x: Tensor) -> Tensor:
    """Codes of x, which stays as it was."""
    given = x.clone()
    f = _call("encode", sae.encode, given, sae.d_sae)
    _check_untouched("encode", given, x)
    return f


def _decoded(sae: SAE, x: Tensor, f: Tensor) -> Tensor:
    """Reconstruction of x from its codes, both of which stay as they were."""
    rows, codes = x.clone(), f.clone()
    out = _call("decode", lambda f: reconstruct(sae, rows, f), codes, output_width(sae))
    _check_untouched("decode", codes, f)
    _check_untouched("decode_like", rows, x)
    return out


def _check_untouched(name: str, after: Tensor, before: Tensor) -> None:
    if not torch.equal(after, before):
        raise SaebenchError(
            f"{name} writes to its input, which others read too; compute into a new tensor (x = x / c, not x /= c)"
        )


def _call(name: str, function: Callable[[Tensor], Tensor], argument: Tensor, width: int) -> Tensor:
    """Result of one protocol call, held to shape [n, width] and finiteness."""
    shape = list(argument.shape)
    out: object = _guarded(f"{name} failed on a float32 tensor {shape}", lambda: function(argument))
    want = [shape[0], width]
    if not isinstance(out, Tensor):
        raise SaebenchError(f"{name} must return a tensor of shape {want}, not {type(out).__name__}")
    if list(out.shape) != want:
        hint = "; are the weights transposed?" if list(out.shape) == want[::-1] else ""
        raise SaebenchError(f"{name} returned shape {list(out.shape)} where {want} was expected{hint}")
    if out.dtype != torch.float32:
        raise SaebenchError(f"{name} returned {out.dtype} numbers where float32 was expected")
    if not torch.isfinite(out).all():
        raise SaebenchError(f"{name} returned NaN or Inf on finite input")
    return out
