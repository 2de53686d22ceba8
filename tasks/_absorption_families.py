"""How many latents a parent is split into, and what the best one and all of them know."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from saebench_lite.api.task import Scores
from saebench_lite.tasks._absorption_fits import PreparedWords, SparseProbes
from saebench_lite.tasks._absorption_metrics import SUFFIX


def main_latents(f1_by_k: Sequence[float], jump: float) -> int:
    """How many latents a parent is split into: k grows while F1 beats the last accepted one by more than `jump`."""
    accepted = 1
    for k in range(2, len(f1_by_k) + 1):
        if not f1_by_k[k - 1] > f1_by_k[accepted - 1] + jump:
            break
        accepted = k
    return accepted


def add_families(probes: SparseProbes, sizes: Sequence[int], counted: Tensor, part: PreparedWords, out: Scores) -> None:
    """Adds what the best latent and all main latents of each parent know.

    Args:
        probes: each parent's sparse probes.
        sizes: how many main latents each has.
        counted: parents that are scored [parents] bool.
        part: examples of one seed.
        out: receives the values.
    """
    for i in counted.nonzero()[:, 0].tolist():
        last = sizes[i] - 1
        found = {
            "splits": sizes[i],
            "f1_k1": probes.f1[i, 0].item(),
            "f1_family": probes.f1[i, last].item(),
            "missed_family": probes.missed[i, last].item(),
        }
        for metric, value in found.items():
            out.add(metric + SUFFIX[part.form], value, unit=part.parents[i], seed=part.seed)
