"""An SAE around another one: what a control that changes one thing of an SAE has in common with it."""

from __future__ import annotations

import copy
from typing import Any, Self

from torch import Tensor

from saebench_lite.saes.protocol import SAE, decode_like, decoder_of, encode_latents, encoding
from saebench_lite.saes.tensor_cores import Encode


class WrappedSAE:
    """Codes, directions and reconstructions of `sae`, which must expose a decoder; subclasses change some of them."""

    def __init__(self, sae: SAE, meta: dict[str, Any]) -> None:
        self.sae, self.meta = sae, meta
        self.d_in, self.d_sae = sae.d_in, sae.d_sae

    @property
    def decoder(self) -> Tensor:
        """Feature directions [d_sae, d_in]."""
        decoder = decoder_of(self.sae)
        assert decoder is not None
        return decoder

    def encode(self, x: Tensor) -> Tensor:
        """Codes [n, d_sae] of x [n, d_in]."""
        return self.sae.encode(x)

    def encode_latents(self, x: Tensor, indices: Tensor) -> Tensor:
        """Codes [n, j] of the latents `indices` [j]."""
        return encode_latents(self.sae, x, indices)

    def encoding(self, by: Encode) -> Self:
        """The same, the encoder of `sae` multiplied in another way."""
        other = copy.copy(self)
        other.sae = encoding(self.sae, by)
        return other

    def decode(self, f: Tensor) -> Tensor:
        """Reconstruction [n, d_in] of codes f [n, d_sae]."""
        return self.sae.decode(f)

    def decode_like(self, f: Tensor, x: Tensor) -> Tensor:
        """The same at the scale of the rows x [n, d_in]."""
        return decode_like(self.sae, f, x)
