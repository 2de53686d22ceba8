"""A small neural network on the model's own activations: one hidden layer of 32 ReLU units.

Columns are standardised; full-batch AdamW (rate 0.01, 150 steps) with the weight decay of 0.01, 0.1 or 1 that validates
best by AUROC. Initial weights come from a seed derived from the shapes, so the same rows give the same scores.
Source: Kantamneni et al., arXiv:2502.16681, appendix on baseline methods, who draw one random configuration.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from saebench_lite.api.baseline import Baseline
from saebench_lite.probes.baseline_scores import best_of, fold_masks
from saebench_lite.probes.logistic import standardise
from saebench_lite.probes.side_by_side import train_side_by_side
from saebench_lite.stats.seeds import derive_seed

HIDDEN = 32
STEPS = 150
RATE = 0.01
DECAYS = (1.0, 0.1, 0.01)


class Networks(NamedTuple):
    """q networks side by side."""

    first: Tensor
    "[d, q, HIDDEN]"
    shift: Tensor
    "[q, HIDDEN]"
    last: Tensor
    "[q, HIDDEN]"
    bias: Tensor
    "[q]"


def logits(nets: Networks, rows: Tensor) -> Tensor:
    """[q, m] of rows [m, d]."""
    hidden = torch.relu((rows @ nets.first.flatten(1)).unflatten(1, nets.shift.shape) + nets.shift)
    return ((hidden * nets.last).sum(-1) + nets.bias).T


def train(x: Tensor, y: Tensor, train_mask: Tensor, decays: tuple[float, ...]) -> Networks:
    """Networks that learn from their own rows with their own decay (decoupled).

    Args:
        x: rows [n, d].
        y: labels [n].
        train_mask: which rows each network learns from [q, n] bool.
        decays: weight decay of each network.
    """
    generator = torch.Generator().manual_seed(derive_seed("mlp", x.shape[1]))
    d, many = x.shape[1], len(decays)
    first = torch.randn(d, 1, HIDDEN, generator=generator) * (2 / d) ** 0.5
    last = torch.randn(1, HIDDEN, generator=generator) * HIDDEN**-0.5
    start = (first.expand(-1, many, -1), torch.zeros(many, HIDDEN), last.expand(many, -1), torch.zeros(many))
    nets = Networks(*(w.to(x).clone().requires_grad_() for w in start))
    factor = 1 - RATE * torch.tensor(decays, device=x.device)[:, None]
    shrinkage = [(nets.first, factor), (nets.last, factor)]
    train_side_by_side(nets, lambda: logits(nets, x), y, train_mask, shrinkage, steps=STEPS, rate=RATE)
    return Networks(*(w.detach() for w in nets))


def classify(x: Tensor, y: Tensor, judged: Tensor) -> Tensor:
    """Logits of the network with the best decay. x [n, d], y [n], judged [m, d] -> [m]"""
    scaled, mean, sd = standardise(x[None], torch.ones_like(y)[None])
    x, judged = scaled[0].float(), ((judged.to(torch.float64) - mean) / sd).float()
    best, masks = 0, fold_masks(y)
    if len(masks):
        tried = train(x, y, masks.repeat_interleave(len(DECAYS), 0), DECAYS * len(masks))
        best = best_of(y, logits(tried, x).unflatten(0, (len(masks), len(DECAYS))))
    return logits(train(x, y, torch.ones_like(y, dtype=torch.bool)[None], (DECAYS[best],)), judged)[0]


BASELINE = Baseline(
    name="mlp",
    description="a small neural network on the model's own activations",
    kind="baseline",
    classify=classify,
    default=False,
)
