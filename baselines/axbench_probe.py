"""AxBench's linear probe: a unit-norm direction trained by AdamW on tokens that carry their text's label.

Loss: cross-entropy of sigmoid(x . w + b), no b in the score's ranking; 24 epochs, twelve texts a batch, learning rate
0.005 falling linearly to 0, weight decay 0.001 (AxBench's settings for 2B models, arXiv:2501.17148, appendix). Before
each step w is scaled to unit norm and the part of the gradient along w removed. Our `logistic` solves for the penalised
optimum on standardised columns instead. Use with `concept_detection.fit_on=tokens`.
Where we differ: a batch is a twelfth of the rows (of AxBench's 144 texts a batch takes 12), drawn from a fixed seed.
"""

import torch
from torch import Tensor

from saebench_lite.api.baseline import Baseline
from saebench_lite.api.probe_types import Direction
from saebench_lite.stats.seeds import derive_seed

EPOCHS, BATCHES, RATE, DECAY = 24, 12, 5e-3, 1e-3


def fit(x: Tensor, y: Tensor, train_mask: Tensor) -> Direction:
    """One probe a problem. x [n, d], y and train_mask [problems, n]."""
    fitted = [train(x[rows].float(), labels[rows].float()) for labels, rows in zip(y, train_mask.bool(), strict=True)]
    return Direction(torch.stack([w for w, _ in fitted]).double(), torch.stack([b for _, b in fitted]).double())


@torch.enable_grad()
def train(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Weight [d] of unit norm and bias of one problem. x [n, d], y [n] in {0, 1}."""
    generator = torch.Generator().manual_seed(derive_seed("axbench_probe", *x.shape))
    bound = x.shape[1] ** -0.5
    start = torch.rand(x.shape[1] + 1, generator=generator).to(x.device) * 2 * bound - bound
    weight, bias = start[:-1].clone().requires_grad_(), start[-1].clone().requires_grad_()
    optimiser = torch.optim.AdamW([weight, bias], lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.0, total_iters=EPOCHS * BATCHES)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x), generator=generator).to(x.device).chunk(BATCHES):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(x[rows] @ weight + bias, y[rows])
            optimiser.zero_grad()
            loss.backward()
            assert weight.grad is not None
            with torch.no_grad():
                weight /= weight.norm().clamp(min=1e-12)
                weight.grad -= (weight.grad @ weight) * weight
            optimiser.step()
            schedule.step()
    return weight.detach() / weight.detach().norm().clamp(min=1e-12), bias.detach()


BASELINE = Baseline(
    name="axbench_probe",
    description="a unit-norm linear probe trained on tokens by AdamW (AxBench's Probe)",
    kind="baseline",
    probe=fit,
    default=False,
)
