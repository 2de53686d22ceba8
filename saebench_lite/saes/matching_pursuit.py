"""Matching pursuit as an SAE: one dictionary of unit rows that encodes greedily and decodes linearly.

A row x has residual r = x - b_dec. At most k times the latent with the largest r . d_i is chosen; relu of that product
is added to its code (a latent chosen twice accumulates) and subtracted from r along d_i (Mallat & Zhang 1993; as an
SAE Costa et al., arXiv:2506.03093).
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from saebench_lite.errors import SaebenchError

GRAM_ROWS = 8192
"Largest dictionary whose table of inner products (d_sae squared numbers) is worth its memory."


ROUNDS = 4096
"Most greedy rounds a row may take: far above any sparse code, far below forever."


def pursue(x: Tensor, rows: Tensor, k: int, products: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Values (>= 0) and latents chosen in k greedy rounds, both [n, k], for x [n, d] and unit rows [m, d].

    Gradients flow through the values, not through the choice.

    Args:
        x: what is approximated. [n, d]
        rows: the dictionary, of unit norm. [m, d]
        k: greedy rounds.
        products: x . rows if at hand. [n, m]
    """
    with torch.no_grad():
        products = x @ rows.T if products is None else products.detach()
        gram = rows @ rows.T if len(rows) <= min(GRAM_ROWS, len(x) * k) else None
    residual, values, indices = x, [], []
    for _ in range(k):
        pick = products.argmax(-1)
        chosen = rows[pick]
        value = (residual * chosen).sum(-1).relu()
        residual = residual - value[:, None] * chosen
        with torch.no_grad():
            products = residual @ rows.T if gram is None else products - value[:, None] * gram[pick]
        values.append(value)
        indices.append(pick)
    return torch.stack(values, -1), torch.stack(indices, -1)


def codes(values: Tensor, indices: Tensor, d_sae: int) -> Tensor:
    """Codes [n, d_sae] from values and latents [n, k]; a latent named twice gets the sum."""
    return values.new_zeros(len(values), d_sae).scatter_add(-1, indices, values)


class MatchingPursuitSAE:
    """Greedy codes over W_dec [d_sae, d_in] (unit rows) of x - b_dec [d_in]; decode: f W_dec + b_dec. float32."""

    def __init__(
        self, *, W_dec: Tensor, b_dec: Tensor | None = None, k: int, meta: dict[str, Any] | None = None
    ) -> None:
        if W_dec.ndim != 2:
            raise SaebenchError(f"W_dec must be a matrix [d_sae, d_in], not {list(W_dec.shape)}")
        self.d_sae, self.d_in = W_dec.shape
        b_dec = torch.zeros(self.d_in, device=W_dec.device) if b_dec is None else b_dec
        self.tensors = {"W_dec": W_dec.detach().to(torch.float32), "b_dec": b_dec.detach().to(torch.float32)}
        self.k, self.meta = k, meta or {}
        if not 0 < k <= ROUNDS:
            raise SaebenchError(f"matching pursuit needs k of at least 1 and at most {ROUNDS}, not {k}")
        for name, tensor in (("W_dec", W_dec), ("b_dec", b_dec)):
            if not tensor.is_floating_point():
                raise SaebenchError(f"tensor {name} holds {tensor.dtype} numbers; floats are needed")
        if self.tensors["b_dec"].shape != (self.d_in,):
            raise SaebenchError(f"b_dec has shape {list(b_dec.shape)} but {[self.d_in]} is needed")
        for name, tensor in self.tensors.items():
            if not torch.isfinite(tensor).all():
                raise SaebenchError(f"tensor {name} holds NaN or Inf; the file is damaged or training diverged")
        off = (self.decoder.norm(dim=1) - 1).abs().max().item()
        if off > 1e-2:
            raise SaebenchError(f"W_dec has a row of norm off 1 by {off:.3g}; matching pursuit needs unit rows")

    @property
    def decoder(self) -> Tensor:
        """Feature directions [d_sae, d_in]."""
        return self.tensors["W_dec"]

    @torch.no_grad()
    def encode(self, x: Tensor) -> Tensor:
        """Codes [n, d_sae] of x [n, d_in]; at most k of a row are not zero."""
        return codes(*pursue(x.to(torch.float32) - self.tensors["b_dec"], self.decoder, self.k), self.d_sae)

    def decode(self, f: Tensor) -> Tensor:
        """Reconstruction [n, d_in] of codes f [n, d_sae]."""
        return f @ self.decoder + self.tensors["b_dec"]

    def to(self, device: str | torch.device) -> MatchingPursuitSAE:
        """The same SAE on another device."""
        moved = {name: t.to(device) for name, t in self.tensors.items()}
        return MatchingPursuitSAE(**moved, k=self.k, meta=self.meta)

    def fingerprint(self) -> str:
        """SHA-256 over weights and k."""
        sha = hashlib.sha256(f"matching pursuit {self.k}".encode())
        for name in sorted(self.tensors):
            sha.update(name.encode() + self.tensors[name].cpu().contiguous().numpy().tobytes())
        return sha.hexdigest()
