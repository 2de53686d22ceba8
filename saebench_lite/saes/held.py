"""An SAE while it is scored: what it is given stays as it was, and what it gives is finite."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from saebench_lite.errors import SaebenchError
from saebench_lite.saes.protocol import SAE, HasOutputWidth, decoder_of, meta_of

T = TypeVar("T")
OPTIONAL = {"encode_latents": 0, "encode_sparse": 0, "decode_like": 1, "decode_bags": 3}
"Members an SAE may have beside `encode` and `decode`, and where among their arguments the rows x are."


class HeldSAE:
    """`sae` with each call watched.

    The activations that a call reads are a copy, for others read them too; a call that changes any of its arguments, or
    gives NaN or infinite numbers, is a SaebenchError that names the SAE. The conformance check asks the same of a few
    random rows; codes of real activations may overflow where those do not.
    """

    def __init__(self, sae: SAE, name: str) -> None:
        self.stands_for, self.name = sae, name
        self.d_in, self.d_sae = int(sae.d_in), int(sae.d_sae)
        self.meta: dict[str, Any] = meta_of(sae)
        self.signed = False
        "Whether a code was negative so far."
        if isinstance(sae, HasOutputWidth):
            self.d_out = sae.d_out
        for member, place in OPTIONAL.items():
            call = getattr(sae, member, None)
            if callable(call):
                setattr(self, member, partial(self._watched, member, call, place))

    @property
    def decoder(self) -> Tensor | None:
        """Feature directions [d_sae, d_in], or None where the SAE shows none."""
        return decoder_of(self.stands_for)

    def encode(self, x: Tensor) -> Tensor:
        """Codes [n, d_sae] of x [n, d_in]."""
        return self._watched("encode", self.stands_for.encode, 0, x)

    def decode(self, f: Tensor) -> Tensor:
        """Reconstruction [n, d_in] of codes f [n, d_sae]."""
        return self._watched("decode", self.stands_for.decode, None, f)

    def _watched(self, member: str, call: Callable[..., T], place: int | None, *arguments: Tensor) -> T:
        """The result of a call.

        Args:
            member: its name.
            call: the member itself.
            place: which argument is copied first; None for none.
            *arguments: tensors.
        """
        given = [t.clone() if i == place else t for i, t in enumerate(arguments)]
        before = [t._version for t in given]
        out = call(*given)
        if any(_written(*t) for t in zip(given, arguments, before, strict=True)):
            raise SaebenchError(
                f"{member} of {self.name} writes to its input, which others read too; compute into a new tensor"
                " (x = x / c, not x /= c)"
            )
        for part in out if isinstance(out, tuple) else (out,):
            if isinstance(part, Tensor) and part.is_floating_point() and part.numel():
                low = self._least(member, part)
                self.signed |= low < 0 and member.startswith("encode")
        return out

    def _least(self, member: str, out: Tensor) -> float:
        """The least number of a result; SaebenchError where one is not finite."""
        ends = torch.stack(torch.aminmax(out.detach()))
        low, high = ends.tolist()
        if math.isfinite(low) and math.isfinite(high):
            return low
        odd = ~out.isfinite()
        place = torch.nonzero(odd)[0].tolist()
        raise SaebenchError(
            f"{member} of {self.name} gives {int(odd.sum())} of {out.numel()} numbers that are NaN or infinite on the"
            f" activations of the site, the first at {place}; train or export the SAE again, or check its normalisation"
        )


def _written(given: Tensor, original: Tensor, version: int) -> bool:
    """Whether a call changed an argument; numbers that were written over with themselves are none.

    Args:
        given: what it got.
        original: the same before, or `given` itself where it got no copy.
        version: number of writes to `given` before the call.
    """
    return given._version != version and (given is original or not torch.equal(given, original))
