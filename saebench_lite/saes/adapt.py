"""SAEs whose codes or sizes come in other types, brought to dense float32 and plain integers once, at the door.

Half precision, integer, bool and sparse codes are common in live objects; every task may then rely on one type.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from saebench_lite.saes.identity import fingerprint
from saebench_lite.saes.protocol import SAE, decode_like, decoder_of, dense, device_of, meta_of, moved_to


class Float32SAE:
    """`inner` with dense float32 codes and reconstructions; it gets its codes back in the type it gave them.

    dtype: of the codes that `inner` gives. Optional short cuts of `inner` are not used.
    """

    def __init__(self, inner: SAE, dtype: torch.dtype) -> None:
        self.stands_for, self.dtype = inner, dtype
        self.d_in, self.d_sae = int(inner.d_in), int(inner.d_sae)
        self.meta: dict[str, Any] = meta_of(inner)

    @property
    def decoder(self) -> Tensor | None:
        """Feature directions [d_sae, d_in], or None where `inner` shows none."""
        decoder = decoder_of(self.stands_for)
        return None if decoder is None else dense(decoder)

    def encode(self, x: Tensor) -> Tensor:
        """Codes [n, d_sae] float32 of x [n, d_in]."""
        return dense(self.stands_for.encode(x))

    def decode(self, f: Tensor) -> Tensor:
        """Reconstruction [n, d_in] float32 of codes f [n, d_sae]."""
        return dense(self.stands_for.decode(f.to(self.dtype)))

    def decode_like(self, f: Tensor, x: Tensor) -> Tensor:
        """The same at the scale of the rows x [n, d_in] where `inner` knows that."""
        return dense(decode_like(self.stands_for, f.to(self.dtype), x))

    def to(self, device: str | torch.device) -> Float32SAE:
        """The same on another device."""
        return Float32SAE(moved_to(self.stands_for, device), self.dtype)

    def fingerprint(self) -> str:
        """That of `inner`."""
        return fingerprint(self.stands_for)


@torch.no_grad()
def adapted(sae: SAE) -> SAE:
    """The SAE itself if its codes, reconstructions and sizes have the plain types, else a `Float32SAE` around it.

    Tries one row. An SAE that fails on it, or gives no real numbers, stays as it is: `check_sae` says what is wrong.
    """
    try:
        x = torch.randn(1, int(sae.d_in), generator=torch.Generator().manual_seed(0)).to(device_of(sae))
        f = sae.encode(x.clone())
        out = decode_like(sae, f, x)
    except Exception:  # noqa: BLE001  (foreign code)
        return sae
    if not all(isinstance(t, Tensor) and not t.is_complex() for t in (f, out)):
        return sae
    plain_types = all(t.dtype == torch.float32 and t.layout == torch.strided for t in (f, out))
    return sae if plain_types and type(sae.d_in) is type(sae.d_sae) is int else Float32SAE(sae, f.dtype)
