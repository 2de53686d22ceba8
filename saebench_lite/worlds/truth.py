"""How well a dictionary recovers the true features. Pure formulas; references in the tests are loops and scipy.

Notation: decoder rows and true directions are compared by |cos|; a latent fires where its code is not 0, a feature
where its activation is above 0. Sources: SynthSAEBench, arXiv:2602.14687 (MCC, uniqueness, per-latent detection);
null calibration as in "Null-calibrated evaluation of SAE decoder reproducibility" (2026).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from saebench_lite.metrics.matching import best_matching


def cosines(decoder: Tensor, directions: Tensor) -> Tensor:
    """|cos| [h, N] of decoder rows [h, d] and true directions [N, d]; 0 for a zero row."""
    a = decoder / decoder.norm(dim=1, keepdim=True).clamp(min=1e-12)
    b = directions / directions.norm(dim=1, keepdim=True).clamp(min=1e-12)
    return (a @ b.T).abs()


def mcc(cos: Tensor) -> float:
    """Mean |cos| of the one-to-one matching of latents and features that makes it largest. cos [h, N]"""
    return cos.double()[matched(cos)].mean().item()


def matched(cos: Tensor) -> tuple[Tensor, Tensor]:
    """Latents and features of the one-to-one matching with the largest sum (Hungarian method). cos [h, N]"""
    latents, features = best_matching(cos.double().cpu().numpy())
    return torch.as_tensor(latents, device=cos.device), torch.as_tensor(features, device=cos.device)


def mcc_null(h: int, directions: Tensor, draws: int = 3) -> float:
    """MCC of random dictionaries of h rows against these directions [N, d]: the floor set by d, h and N."""
    total = 0.0
    for i in range(draws):
        g = torch.Generator().manual_seed(i)
        guess = torch.randn(h, directions.shape[1], generator=g).to(directions.device)
        total += mcc(cosines(guess, directions))
    return total / draws


def uniqueness(cos: Tensor) -> float:
    """Distinct nearest features over the number of latents. cos [h, N]"""
    return len(cos.argmax(1).unique()) / len(cos)


class Counts(NamedTuple):
    """Co-occurrence over samples."""

    both: Tensor
    "[h, N] samples where latent and feature fire"
    latent: Tensor
    "[h]"
    feature: Tensor
    "[N]"
    samples: int


def count(f: Tensor, a: Tensor) -> Counts:
    """Counts of a batch: codes f [n, h], true activations a [n, N]; float64 totals (n below 2^24)."""
    fires, true = (f != 0).float(), (a > 0).float()
    return Counts((fires.T @ true).double(), fires.sum(0).double(), true.sum(0).double(), len(f))


def add(x: Counts, y: Counts) -> Counts:
    """Counts of two batches together."""
    return Counts(x.both + y.both, x.latent + y.latent, x.feature + y.feature, x.samples + y.samples)


class Detection(NamedTuple):
    """Precision, recall and F1, each [h]; 0 where undefined."""

    precision: Tensor
    recall: Tensor
    f1: Tensor


def of_latents(counts: Counts, cos: Tensor) -> Detection:
    """Each latent as a detector of the feature its decoder points at (several latents may share one). [h] each"""
    nearest = cos.argmax(1).to(counts.both.device)
    hits = counts.both.gather(1, nearest[:, None])[:, 0]
    truth = counts.feature[nearest]
    return Detection(
        hits / counts.latent.clamp(min=1),
        hits / truth.clamp(min=1),
        2 * hits / (counts.latent + truth).clamp(min=1),
    )


def of_features(counts: Counts) -> Tensor:
    """For each true feature the F1 of the latent that detects it best: a feature nobody covers counts 0. [N]"""
    return (2 * counts.both / (counts.latent[:, None] + counts.feature).clamp(min=1)).amax(0)
