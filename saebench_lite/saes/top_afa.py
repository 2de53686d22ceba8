"""top-AFA as an SAE: for each input as many latents as bring the norm of its code to that of the input.

A row x has a_i = relu((x - b_dec) W_enc + b_enc)_i; latents are taken in falling order of a_i |w_i|, and their number
k(x) >= 1 is that with which sqrt(sum of the taken (a_i |w_i|)²) comes nearest to share |x - b_dec| (Lee et al.,
arXiv:2503.24277). The paper's share is 1, and its L0 follows from the weight of a loss; here the share decides it.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from saebench_lite.errors import SaebenchError
from saebench_lite.saes.affine import AffineSAE

FIRST = 128
"Latents sorted at first; more only where a row needs them."


def keep_by_norm(f: Tensor, sizes: Tensor, norm: Tensor) -> Tensor:
    """Codes f >= 0 [n, m] with the largest f_i * size_i of each row kept, zeros elsewhere. [n, m]

    Their number is the k >= 1 with which the root of the summed squares is nearest to the row's norm, the smallest of
    several. Gradients flow through the codes, not through the choice.

    Args:
        f: codes. [n, m]
        sizes: norms of decoder rows. [m]
        norm: what a row's code is to reach. [n]
    """
    with torch.no_grad():
        scaled, most = (f * sizes).float(), FIRST
        while True:
            top, indices = scaled.topk(min(most, f.shape[1]), -1)
            reached = top.square().cumsum(-1).sqrt()
            if most >= f.shape[1] or bool(((reached[:, -1] >= norm) | (top[:, -1] == 0)).all()):
                break
            most *= 4
        distance = (reached - norm.float()[:, None]).abs()
        nearest = (distance <= distance.amin(-1, keepdim=True)).int().argmax(-1, keepdim=True)
        taken = torch.arange(top.shape[1], device=f.device) <= nearest
        mask = torch.zeros_like(f).scatter(-1, indices, taken.to(f.dtype))
    return f * mask


class TopAFASAE:
    """An affine encoder whose codes `keep_by_norm` thins, and an affine decoder. float32"""

    def __init__(self, affine: AffineSAE, share: float, meta: dict[str, Any] | None = None) -> None:
        """An SAE from its affine parts.

        Args:
            affine: encoder and decoder, with relu as activation and without normalisation of inputs.
            share: of |x - b_dec| that the norm of a code is to reach.
            meta: facts; by default those of the affine SAE.
        """
        if affine.activation != "relu" or affine.normalize != "none" or not affine.subtract_b_dec:
            raise SaebenchError(
                f"top-AFA needs relu codes of x - b_dec, not {affine.activation} with normalize {affine.normalize!r}"
            )
        if not 0 < share < float("inf"):
            raise SaebenchError(f"top-AFA needs a share of the norm above 0, not {share}")
        self.affine, self.share = affine, float(share)
        self.d_in, self.d_sae = affine.d_in, affine.d_sae
        self.tensors, self.meta = affine.tensors, affine.meta if meta is None else meta

    @property
    def decoder(self) -> Tensor:
        """Feature directions [d_sae, d_in]."""
        return self.affine.decoder

    def encode(self, x: Tensor) -> Tensor:
        """Codes [n, d_sae] of x [n, d_in]; how many of a row are not zero depends on its norm."""
        x = x.to(torch.float32)
        norm = self.share * (x - self.tensors["b_dec"]).norm(dim=-1)
        return keep_by_norm(self.affine.encode(x), self.decoder.norm(dim=1), norm)

    def decode(self, f: Tensor) -> Tensor:
        """Reconstruction [n, d_in] of codes f [n, d_sae]."""
        return self.affine.decode(f)

    def to(self, device: str | torch.device) -> TopAFASAE:
        """The same SAE on another device."""
        return TopAFASAE(self.affine.to(device), self.share, self.meta)

    def fingerprint(self) -> str:
        """SHA-256 over weights and share."""
        return hashlib.sha256(f"top-AFA {self.share!r} {self.affine.fingerprint()}".encode()).hexdigest()
