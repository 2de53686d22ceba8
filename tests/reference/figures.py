"""Single figures of our own tasks by the direct way."""

from __future__ import annotations

import torch
from torch import Tensor

from saebench_lite.probes.latent_selection import Selection, class_differences


def ranking(rows: Tensor, positive: Tensor, selection: Selection) -> Tensor:
    """Score of each latent [m], higher first. rows [n, m] pooled codes of the training rows; positive [n] bool."""
    return class_differences(rows, torch.arange(len(rows)), positive, selection).abs()


def divergence(clean: Tensor, other: Tensor) -> Tensor:
    """KL(clean || other) [...] in nats of two sets of logits [..., V], float32."""
    p, q = clean.float().log_softmax(-1), other.float().log_softmax(-1)
    return (p.exp() * (p - q)).sum(-1)
