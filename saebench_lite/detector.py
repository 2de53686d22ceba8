"""One latent as a detector of a rare concept: chosen on training rows, judged on test rows.

The score is the mean of two F1s at a prevalence of 5 %: of the latent as it fires (code not 0), which is what its
sparsity claims, and of the latent above a threshold tuned on the training rows, which is the best use one could make of
it. AUROC on balanced classes cannot tell a latent that fires for a concept from one that also fires for a hundred
other things; at 5 % prevalence nineteen of twenty chances to be wrong are outside the concept.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from saebench_lite.classsums import class_sums
from saebench_lite.metrics import best_rare_threshold, fires_rare_f1, rare_f1

PREVALENCE = 0.05
SHORTLIST = 64
"Latents whose thresholds are tuned: the best by firing and as many by difference of means."


class Detector(NamedTuple):
    """The latent chosen, with its pooled codes."""

    score: float
    "On the training rows."
    latent: int
    column: Tensor
    "Its pooled codes on the problem's rows. [n]"


def best_detector(table: Tensor, seen: Tensor, positive: Tensor, prevalence: float = PREVALENCE) -> tuple[float, int]:
    """Training score and index of the best latent of a block. table [n, m] of the problem's rows; seen: training rows.

    seen [n_train] row numbers, positive [n_train] bool. Dead latents score 0.
    """
    sums = class_sums(table, seen, positive)
    by_firing = rare_f1(sums.fires[0], sums.fires[1], prevalence)
    spread = (sums.mean[0] - sums.mean[1]) / sums.absolute.clamp(min=1e-30)
    size = min(SHORTLIST, table.shape[1])
    short = torch.cat([by_firing.topk(size).indices, spread.topk(size).indices]).unique()
    tuned, _ = best_rare_threshold(table[seen[:, None], short], positive, prevalence)
    total = (by_firing[short] + tuned) / 2
    best = int(total.argmax())
    return total[best].item(), int(short[best])


def rare_figures(
    train: Tensor,
    train_positive: Tensor,
    test: Tensor,
    test_positive: Tensor,
    *,
    has_zero: bool = True,
    prevalence: float = PREVALENCE,
) -> dict[str, float]:
    """The score and its two parts on test rows: codes [n] of one latent, labels [n] bool.

    A probe has no firing of its own (`has_zero=False`): both parts are then its F1 above the tuned threshold.
    """
    _, threshold = best_rare_threshold(train[:, None], train_positive, prevalence)
    said = test > threshold
    hit, alarm = said[test_positive].double().mean(), said[~test_positive].double().mean()
    tuned = rare_f1(hit, alarm, prevalence).item()
    fires = fires_rare_f1(test[:, None], test_positive, prevalence).item() if has_zero else tuned
    return {"rare_f1": (fires + tuned) / 2, "rare_f1_fires": fires, "rare_f1_tuned": tuned}
