"""How well a dictionary recovers the true features. Pure formulas; references in the tests are loops and scipy.

Notation: decoder rows and true directions are compared by |cos|; a latent fires where its code is not 0, a feature
where its activation is above 0. Sources: SynthSAEBench, arXiv:2602.14687 (MCC, uniqueness, per-latent detection);
null calibration as in "Null-calibrated evaluation of SAE decoder reproducibility" (2026).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from saebench_lite.metrics.matching import best_matching

LATENTS = 1024
"Latents whose F1 is made together."


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


class Firing(NamedTuple):
    """Which latents, or which features, fire in which sample."""

    sample: Tensor
    "[k], ascending"
    column: Tensor
    "[k]"
    samples: int
    columns: int

    def to(self, device: torch.device | str) -> Firing:
        """The same on a device."""
        return self._replace(sample=self.sample.to(device), column=self.column.to(device))

    def samples_from(self, low: int, high: int) -> Firing:
        """Samples low to high - 1, as far as there are."""
        high = min(high, self.samples)
        first, end = torch.searchsorted(self.sample, torch.tensor([low, high], device=self.sample.device)).tolist()
        return Firing(self.sample[first:end] - low, self.column[first:end], high - low, self.columns)

    def dense(self) -> Tensor:
        """Whether each fires. [n, m] bool"""
        out = torch.zeros(self.samples, self.columns, dtype=torch.bool, device=self.column.device)
        out[self.sample, self.column] = True
        return out


def firing(x: Tensor) -> Firing:
    """Where codes, or true activations, [n, m] are not 0."""
    sample, column = x.nonzero(as_tuple=True)
    return Firing(sample, column, len(x), x.shape[1])


def joined(parts: Sequence[Firing]) -> Firing:
    """Samples one after another."""
    sizes = [part.samples for part in parts]
    starts = itertools.accumulate(sizes[:-1], initial=0)
    sample = torch.cat([part.sample + start for part, start in zip(parts, starts, strict=True)])
    return Firing(sample, torch.cat([part.column for part in parts]), sum(sizes), parts[0].columns)


class Counts(NamedTuple):
    """Co-occurrence over samples."""

    both: Tensor
    "[h, N] samples where latent and feature fire; float32, exact below 2^24 samples"
    latent: Tensor
    "[h]"
    feature: Tensor
    "[N]"
    samples: int


def count(codes: Firing, true: Firing) -> Counts:
    """Counts of a batch of samples. On a CPU as many additions as pairs fire together, on a GPU a matrix product."""
    latent, feature = (torch.bincount(x.column, minlength=x.columns).double() for x in (codes, true))
    if codes.column.is_cuda:
        both = codes.dense().float().T @ true.dense().float()
    else:
        both = torch.from_numpy((_sparse(codes).T @ _sparse(true)).toarray())
    return Counts(both, latent, feature, codes.samples)


def _sparse(x: Firing) -> csr_array:
    starts = torch.bincount(x.sample, minlength=x.samples).cumsum(0)
    pointers = np.concatenate([[0], starts.numpy()])
    return csr_array((np.ones(len(x.column), np.float32), x.column.numpy(), pointers), shape=(x.samples, x.columns))


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
    hits = counts.both.gather(1, nearest[:, None])[:, 0].double()
    truth = counts.feature[nearest]
    return Detection(
        hits / counts.latent.clamp(min=1),
        hits / truth.clamp(min=1),
        2 * hits / (counts.latent + truth).clamp(min=1),
    )


def of_features(counts: Counts) -> Tensor:
    """For each true feature the F1 of the latent that detects it best: a feature nobody covers counts 0. [N]"""
    best = torch.zeros_like(counts.feature)
    for both, latent in zip(counts.both.split(LATENTS), counts.latent.split(LATENTS), strict=True):
        best = best.maximum((2 * both / (latent[:, None] + counts.feature).clamp(min=1)).amax(0))
    return best
