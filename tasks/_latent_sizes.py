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
from saebench_lite.saes.protocol import SAE, decoder_of, unwrapped
from saebench_lite.saes.sparse_codes import Bags

Seen = tuple[LatentSums, Tensor]
"Sums over the tokens of a chunk, and their norms. [t]"


def firing(codes: Bags | Tensor, m: int) -> tuple[Tensor, Tensor]:
    """How often each of m latents fires [m], and the sum of absolute codes, both float64."""
    if isinstance(codes, Tensor):
        return (codes != 0).sum(0, dtype=torch.float64), codes.abs().sum(-1).double().sum()
    return torch.bincount(codes.indices, minlength=m).double(), codes.values.abs().double().sum()


class LatentSizes:
    """Running sums of an SAE's codes; nothing for an SAE that shows no decoder."""

    def __init__(self, sae: SAE) -> None:
        self.decoder = decoder_of(sae)
        bare = unwrapped(sae)
        self.normalize: Normalisation = bare.normalize if isinstance(bare, AffineSAE) else "none"
        self.seen: list[Seen] = []

    def of(self, codes: Bags | Tensor, x: Tensor, hat: Tensor) -> Seen | None:
        """Sums of a chunk, in the frame of normalised inputs where the decoder writes in it.

        Args:
            codes: of the tokens, as `sparse_codes.encoded` gives them.
            x: activations. [t, d]
            hat: their reconstructions. [t, d]
        """
        if self.decoder is None or hat.shape != x.shape:
            return None
        norms, decoder = x.norm(dim=-1), self.decoder.float()
        residual = (x - hat) / encoder_input_frame(x, self.normalize)[2].clamp(min=1e-12)
        if isinstance(codes, Tensor):
            return dense_sums(codes, norms, residual, decoder), norms
        entries = Entries(codes.values, codes.owners(), codes.indices)
        return sparse_sums(entries, norms, residual, decoder), norms

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
