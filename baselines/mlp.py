"""A small neural network on the model's own activations: one hidden layer of 32 ReLU units.

Columns are standardised; full-batch AdamW (rate 0.01, 150 steps) with the weight decay of 0.01, 0.1 or 1 that validates
best by AUROC. Initial weights come from a seed derived from the shapes, so the same rows give the same scores.
Source: Kantamneni et al., arXiv:2502.16681, appendix on baseline methods, who draw one random configuration.
"""

import torch
from torch import Tensor

from saebench_lite.probes import standardise
from saebench_lite.readout import choose
from saebench_lite.stats import derive_seed
from saebench_lite.task import Baseline

HIDDEN = 32
STEPS = 150
RATE = 0.01
DECAYS = (1.0, 0.1, 0.01)


def train(x: Tensor, y: Tensor, judged: Tensor, decays: tuple[float, ...]) -> Tensor:
    """Logits [decays, m] of networks trained side by side, decay decoupled. x [n, d], y [n], judged [m, d]"""
    generator = torch.Generator().manual_seed(derive_seed("mlp", x.shape[1]))
    d, many = x.shape[1], len(decays)
    first = torch.randn(d, HIDDEN, generator=generator) * (2 / d) ** 0.5
    last = torch.randn(HIDDEN, 1, generator=generator) * HIDDEN**-0.5
    parts = [w.expand(many, -1, -1).to(x) for w in (first, torch.zeros(1, HIDDEN), last, torch.zeros(1, 1))]
    parts = [w.clone().requires_grad_() for w in parts]
    decay = torch.tensor(decays, device=x.device)[:, None, None]
    target = y.to(x).expand(many, -1)

    def logits(rows: Tensor) -> Tensor:
        hidden = torch.relu(torch.baddbmm(parts[1], rows.expand(many, -1, -1), parts[0]))
        return torch.baddbmm(parts[3], hidden, parts[2]).squeeze(-1)

    optimiser = torch.optim.Adam(parts, lr=RATE)
    for _ in range(STEPS):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits(x), target, reduction="none")
        optimiser.zero_grad()
        loss.mean(-1).sum().backward()
        optimiser.step()
        with torch.no_grad():
            for weight in (parts[0], parts[2]):
                weight.mul_(1 - RATE * decay)
    with torch.no_grad():
        return logits(judged)


def classify(x: Tensor, y: Tensor, judged: Tensor) -> Tensor:
    """Logits of the network with the best decay. x [n, d], y [n], judged [m, d] -> [m]"""
    scaled, mean, sd = standardise(x[None], torch.ones_like(y)[None])
    x, judged = scaled[0].float(), ((judged.to(torch.float64) - mean) / sd).float()
    best = choose(y, len(DECAYS), lambda fit, held: train(x[fit], y[fit], x[held], DECAYS))
    return train(x, y, judged, (DECAYS[best],))[0]


BASELINE = Baseline(
    name="mlp",
    claim="a small neural network on the model's own activations",
    kind="baseline",
    classify=classify,
    default=False,
)
