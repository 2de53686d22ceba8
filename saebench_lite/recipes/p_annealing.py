"""p-annealing (Karvonen et al., arXiv:2408.00113): a ReLU SAE whose penalty goes from L1 towards L0 in training.

The penalty is s * sum_i (f_i |d_i|)^p with p = 1 in the first half of the steps and then falling in equal stages to
`LAST_P`. At each stage s is rescaled so that the mean penalty of the last batches stays what it was, and the
controller of relu and gated holds L0 to its target throughout. A small constant keeps the slope at 0 finite.
"""

from __future__ import annotations

import torch
from torch import Tensor

from saebench_lite.recipes.architectures import ReLU
from saebench_lite.recipes.recipe import SAERecipe
from saebench_lite.recipes.trainer import Codes

LAST_P = 0.2
START = 0.5
"Share of the steps with p = 1."
STAGES = 10
RECENT = 10
"Batches whose penalties decide how s is rescaled."
SMALL = 1e-3
"Added to a code before its power is taken, and its power taken off again, in inputs of norm sqrt(d)."


def stage(step: int, recipe: SAERecipe) -> int:
    """0 in the first half of the steps, then 1 to `STAGES`, each as long as the others."""
    begun = step - START * recipe.steps
    return 0 if begun < 0 else min(STAGES, 1 + int(begun / ((1 - START) * recipe.steps) * STAGES))


def power(stage: int) -> float:
    """p of a stage: 1 in the first, `LAST_P` in the last."""
    return 1 - (1 - LAST_P) * min(stage, STAGES) / STAGES


def powers(z: Tensor, p: float) -> Tensor:
    """Mean over rows of sum_i (z_i + small)^p - small^p, for z >= 0 [n, m]; sum z at p = 1. []"""
    return ((z + SMALL).pow(p) - SMALL**p).sum(-1).mean()


class PAnnealing(ReLU):
    """ReLU's codes under a penalty whose power falls."""

    def __init__(self, recipe: SAERecipe, x: Tensor, device: str | torch.device) -> None:
        super().__init__(recipe, x, device)
        self.recent = torch.zeros(RECENT, 2, device=self.device)  # mean penalties at p and at the next p

    def penalty(self, codes: Codes, errors: list[Tensor], decoder: Tensor, step: int) -> Tensor:
        """The penalty at the p of the step and the pressure that the controller has reached.

        Args:
            codes: of the batch.
            errors: residuals, as `errors` gives them.
            decoder: rows that codes are in units of. [d_sae, d]
            step: number of the step.
        """
        now, z = stage(step, self.recipe), codes.score.relu()
        with torch.no_grad():
            if step and stage(step - 1, self.recipe) != now:
                seen = self.recent[: min(step, RECENT)].mean(0)
                self._log_pressure = self._log_pressure + (seen[0] / seen[1].clamp(min=1e-12)).clamp(min=1e-6).log()
            self.recent[step % RECENT] = torch.stack([powers(z, power(now)), powers(z, power(now + 1))])
            self._control((codes.f > 0).sum(-1).float().mean(), step)
        return self.pressure * powers(z, power(now))
