"""Sizes of single latents' codes over a sample: their least-squares multiples and how they follow the input's norm."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from saebench_lite.metrics.pathologies import (
    NORM_DETECTOR,
    SHRUNKEN,
    Entries,
    LatentSums,
    dense_sums,
    known_median,
    least_squares_multiple,
    norm_correlation,
    share_over,
    sparse_sums,
)
from saebench_lite.saes.affine import AffineSAE, Normalisation, encoder_input_frame
from saebench_lite.saes.protocol import SAE, DecodesSparse, decoder_of, unwrapped
from saebench_lite.saes.sparse_codes import Bags, SparseCodes, reconstruct_codes, sparse_codes

Seen = tuple[LatentSums, Tensor]
"Sums over the tokens of a chunk, and their norms. [t]"


def of_sparse(codes: SparseCodes) -> Entries:
    """The codes of t rows of k, as entries."""
    tokens = torch.arange(len(codes.values), device=codes.values.device)
    return Entries(codes.values.flatten(), tokens.repeat_interleave(codes.values.shape[1]), codes.indices.flatten())


def of_bags(bags: Bags, tokens: int) -> Entries:
    """The codes of rows that differ in how many they have, as entries. tokens: how many rows"""
    device = bags.values.device
    lengths = torch.diff(bags.starts, append=bags.starts.new_tensor([len(bags.values)]))
    of = torch.arange(tokens, device=device).repeat_interleave(lengths, output_size=len(bags.values))
    return Entries(bags.values, of, bags.indices)


def coded(sae: SAE, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | Entries]:
    """Reconstruction of x [t, d], how often each latent fires [d_sae], the sum of absolute codes, and the codes."""
    codes = sparse_codes(sae, x)
    if codes is None or not isinstance(sae, DecodesSparse):
        f = sae.encode(x)
        hat, bags = reconstruct_codes(sae, x, f)
        if bags is None:
            return hat, (f != 0).sum(0, dtype=torch.float64), f.abs().sum(-1).double().sum(), f
        counts = torch.bincount(bags.indices, minlength=sae.d_sae).double()
        return hat, counts, bags.values.abs().double().sum(), of_bags(bags, len(x))
    counts = torch.bincount(codes.indices[codes.values != 0], minlength=sae.d_sae)
    hat = sae.decode_sparse(*codes, x)
    return hat, counts.double(), codes.values.sum(-1).double().sum(), of_sparse(codes)


class LatentSizes:
    """Running sums of an SAE's codes; nothing for an SAE that shows no decoder."""

    def __init__(self, sae: SAE) -> None:
        self.decoder = decoder_of(sae)
        bare = unwrapped(sae)
        self.normalize: Normalisation = bare.normalize if isinstance(bare, AffineSAE) else "none"
        self.seen: list[Seen] = []

    def of(self, codes: Tensor | Entries, x: Tensor, hat: Tensor) -> Seen | None:
        """Sums of a chunk, in the frame of normalised inputs where the decoder writes in it.

        Args:
            codes: of the tokens, [t, m] or entries.
            x: activations. [t, d]
            hat: their reconstructions. [t, d]
        """
        if self.decoder is None or hat.shape != x.shape:
            return None
        norms, decoder = x.norm(dim=-1), self.decoder.float()
        residual = (x - hat) / encoder_input_frame(x, self.normalize)[2].clamp(min=1e-12)
        sums = sparse_sums if isinstance(codes, Entries) else dense_sums
        return sums(codes, norms, residual, decoder), norms  # pyright: ignore[reportArgumentType]  (chosen by type)

    def add(self, chunks: Sequence[Seen | None]) -> None:
        """Takes in the chunks of a block."""
        self.seen += [chunk for chunk in chunks if chunk is not None]

    def figures(self) -> dict[str, float]:
        """Values of the metrics by name; empty where nothing was seen."""
        if not self.seen or self.decoder is None:
            return {}
        sums = LatentSums(*(torch.stack(parts).sum(0) for parts in zip(*(s for s, _ in self.seen), strict=True)))
        multiple = least_squares_multiple(sums, self.decoder)
        follows = norm_correlation(sums, torch.cat([norms for _, norms in self.seen]))
        return {
            "size_multiple": known_median(multiple),
            "shrunken_fraction": share_over(multiple.clamp(min=0.0), SHRUNKEN),
            "norm_detector_fraction": share_over(follows, NORM_DETECTOR),
        }
