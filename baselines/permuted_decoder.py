"""Permuted decoder: an SAE on trial with its decoder's rows in another order.

Its codes are bit for bit those of the SAE; what it writes is wrong. A metric that does not move never used the decoder,
and one that claims to read the decoder must fall to the level of the random control.
"""

import torch
from torch import Tensor

from saebench_lite.api.baseline import Baseline
from saebench_lite.api.context import EvalContext
from saebench_lite.errors import NotApplicable
from saebench_lite.saes.protocol import SAE, DecodesBags, EncodesSparse, decoder_of
from saebench_lite.saes.wrapped import WrappedSAE
from saebench_lite.stats.seeds import derive_seed


class PermutedDecoder(WrappedSAE):
    """`sae` whose code f is decoded as if latent order[i] had the value f_i."""

    def __init__(self, sae: SAE, order: Tensor) -> None:
        super().__init__(sae, {"architecture": "permuted decoder"})
        self.order = order

    @property
    def decoder(self) -> Tensor:
        return super().decoder[self.order]

    def decode(self, f: Tensor) -> Tensor:
        return super().decode(self._permuted(f))

    def decode_like(self, f: Tensor, x: Tensor) -> Tensor:
        return super().decode_like(self._permuted(f), x)

    def _permuted(self, f: Tensor) -> Tensor:
        return torch.empty_like(f).index_copy_(-1, self.order, f)


class SparsePermutedDecoder(PermutedDecoder):
    """The same of an SAE with a sparse way, which the control then goes too: sums run in the same order."""

    def encode_sparse(self, x: Tensor) -> tuple[Tensor, Tensor]:
        assert isinstance(self.sae, EncodesSparse)
        return self.sae.encode_sparse(x)

    def decode_bags(self, values: Tensor, indices: Tensor, starts: Tensor, x: Tensor) -> Tensor:
        assert isinstance(self.sae, DecodesBags)
        return self.sae.decode_bags(values, self.order[indices], starts, x)


def derive(sae: SAE, ctx: EvalContext, seed: int) -> PermutedDecoder:
    """The SAE with a random order of decoder rows that leaves none in its place."""
    decoder = decoder_of(sae)
    if decoder is None:
        raise NotApplicable("the SAE exposes no decoder directions to permute")
    generator = torch.Generator().manual_seed(derive_seed("permuted_decoder", seed))
    shuffled = torch.randperm(sae.d_sae, generator=generator)
    order = torch.empty_like(shuffled)
    order[shuffled] = shuffled.roll(1)  # one cycle through all latents has no fixed point
    order = order.to(decoder.device)
    sparse = isinstance(sae, EncodesSparse) and isinstance(sae, DecodesBags)
    return SparsePermutedDecoder(sae, order) if sparse else PermutedDecoder(sae, order)


BASELINE = Baseline(
    name="permuted_decoder", description="an SAE on trial with its decoder rows shuffled", kind="control", derive=derive
)
