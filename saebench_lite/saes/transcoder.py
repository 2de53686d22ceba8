"""Transcoders: read one place of a model, write another, with or without a linear skip connection.

What an AffineSAE cannot say: y = decode(encode(x)) + x W_skip (Paulo et al., arXiv:2501.18823, equation 4).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from saebench_lite.errors import SaebenchError
from saebench_lite.saes.affine import AffineSAE


class Transcoder(AffineSAE):
    """An affine SAE whose output is another activation than its input; its `meta` names hook_in and hook_out.

    W_skip [d_in, d_out] is optional; `decode` alone leaves it out, `decode_like(f, x)` adds x W_skip.
    """

    def __init__(self, *, W_skip: Tensor | None = None, meta: dict[str, Any] | None = None, **parts: Any) -> None:
        super().__init__(**parts, meta={**(meta or {}), "transcoder": True})
        if W_skip is None:
            return
        if tuple(W_skip.shape) != (self.d_in, self.d_out):
            raise SaebenchError(f"tensor W_skip has shape {list(W_skip.shape)} but {[self.d_in, self.d_out]} is needed")
        self.tensors["W_skip"] = W_skip.detach().to(torch.float32)
        if not torch.isfinite(self.tensors["W_skip"]).all():
            raise SaebenchError("tensor W_skip holds NaN or Inf; the file is damaged or training diverged")

    def _framed(self, decoded: Tensor, x: Tensor) -> Tensor:
        """What is decoded [n, d_out] of the rows x [n, d_in], dense or sparse, with the skip connection."""
        out = super()._framed(decoded, x)
        skip = self.tensors.get("W_skip")
        return out if skip is None else out + x.to(torch.float32) @ skip
