"""What is recorded of an SAE's training: a few figures of batches before they are trained on, for `plot training`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

POINTS = 20
"Steps of a training at which figures are taken, at most."
FIGURES = ("explained_variance", "l0", "dead_fraction")
"What `Trainer.figures` returns, in its order."


def curve_steps(steps: int) -> list[int]:
    """Numbers of the steps at which figures are taken: the first, the last, and more of the early ones than of the
    late, since distances grow evenly.
    """
    return sorted({round((steps - 1) * (i / (POINTS - 1)) ** 2) for i in range(POINTS)})


def training_curve(steps: Sequence[int], figures: Sequence[Tensor]) -> dict[str, list[float | int | None]]:
    """{`step`: [...], name of a figure: [...]} in JSON types and five significant digits; None where a figure is not
    finite. `figures`: [3] of each step.
    """
    values = torch.stack(list(figures)).T.tolist()
    columns = {name: [_short(v) for v in column] for name, column in zip(FIGURES, values, strict=True)}
    return {"step": list(steps), **columns}


def _short(value: float) -> float | None:
    return float(f"{value:.5g}") if math.isfinite(value) else None
