"""Best latents: an SAE on trial reduced to the quarter of its latents that write most.

Keeps the latents with the largest mean |code| times decoder norm; the others never fire. It should lose coverage and
keep precision; a metric that rates it as high as the whole SAE does not see what is missing.
Source: "best-N" of arXiv:2605.18229.
"""

import torch
from torch import Tensor

from saebench_lite.activations.pooling import chunk_size
from saebench_lite.api.baseline import Baseline
from saebench_lite.api.context import EvalContext
from saebench_lite.errors import NotApplicable
from saebench_lite.saes.protocol import SAE, decoder_of, device_of
from saebench_lite.saes.wrapped import WrappedSAE


class Masked(WrappedSAE):
    """`sae` with some latents silenced, whose directions it still shows. mask [d_sae] of 0 and 1"""

    def __init__(self, sae: SAE, mask: Tensor) -> None:
        super().__init__(sae, {"architecture": "best latents", "kept": int(mask.sum())})
        self.mask = mask

    def encode(self, x: Tensor) -> Tensor:
        return super().encode(x) * self.mask

    def encode_latents(self, x: Tensor, indices: Tensor) -> Tensor:
        return super().encode_latents(x, indices) * self.mask[indices]


@torch.no_grad()
def derive(sae: SAE, ctx: EvalContext, seed: int) -> Masked:
    """The SAE with all but a quarter of its latents silenced."""
    decoder = decoder_of(sae)
    if decoder is None:
        raise NotApplicable("the SAE exposes no decoder directions to weigh its latents by")
    x = ctx.sample().to(device_of(sae))
    mass = decoder.new_zeros(sae.d_sae)
    for part in x.split(chunk_size(sae.d_sae, x.device, ctx.memory)):
        mass += sae.encode(part).abs().sum(0)
    mask = torch.zeros_like(mass)
    mask[(mass * decoder.norm(dim=1)).topk(max(1, sae.d_sae // 4)).indices] = 1.0
    return Masked(sae, mask)


BASELINE = Baseline(
    name="best_latents",
    description="an SAE on trial with all but its strongest latents silenced",
    kind="control",
    derive=derive,
    default=False,
)
