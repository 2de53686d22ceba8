"""Which trainer an architecture has."""

from __future__ import annotations

import torch
from torch import Tensor

from saebench_lite.recipes.architectures import BatchTopK, Gated, JumpReLU, MatchingPursuit, Matryoshka, ReLU, TopK
from saebench_lite.recipes.p_annealing import PAnnealing
from saebench_lite.recipes.recipe import Architecture, SAERecipe
from saebench_lite.recipes.top_afa import TopAFA
from saebench_lite.recipes.trainer import Trainer

TRAINERS: dict[Architecture, type[Trainer]] = {
    "relu": ReLU,
    "gated": Gated,
    "topk": TopK,
    "batchtopk": BatchTopK,
    "matryoshka": Matryoshka,
    "jumprelu": JumpReLU,
    "matching_pursuit": MatchingPursuit,
    "p_annealing": PAnnealing,
    "top_afa": TopAFA,
}


def trainer_for(recipe: SAERecipe, x: Tensor, device: str | torch.device = "cpu") -> Trainer:
    """The recipe's trainer before its first step; x [n, d]: rows that fix the input scale and the first centre."""
    return TRAINERS[recipe.architecture](recipe, x, device)
