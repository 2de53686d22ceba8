"""True features switched on and off by hand: samples that differ in nothing else, with the trees' rule kept.

A feature that is switched off takes its descendants with it, as they never fire without it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from saebench_lite.worlds.model import WorldModel
from saebench_lite.worlds.world import World

LEAST = 0.5
"Smallest magnitude of a feature that is switched on, as a share of its mean."


def frequent_heads(model: WorldModel) -> Tensor:
    """Features that no other one has to fire for, of the quarter that fires most, most frequent first. [n] long"""
    quarter = model.by_frequency[: model.world.spec.features // 4]
    return quarter[model.world.forest.parent[quarter] < 0]


def family(world: World, features: Tensor) -> Tensor:
    """The features [k] with all their descendants. [N] bool, on the CPU"""
    member = torch.zeros(world.spec.features, dtype=torch.bool)
    member[features] = True
    for first, child, width in world.forest.levels:  # from the roots down
        below = member[first : first + width].repeat_interleave(world.forest.branching)
        member[child : child + len(below)] |= below
    return member


def switched_off(world: World, a: Tensor, features: Tensor) -> Tensor:
    """True activations a [n, N] with the features [k] and their descendants at 0 (a copy)."""
    return a.masked_fill(family(world, features).to(a.device), 0.0)


def magnitudes(world: World, features: Tensor, generator: torch.Generator) -> Tensor:
    """Magnitudes at which features [n] fire when they are switched on. [n] float32, on the CPU

    Drawn as the world draws them, but none below LEAST of the mean, so that what is switched on is there.
    """
    mean, sd = world.mean.cpu()[features], world.sd.cpu()[features]
    return torch.maximum(mean + sd * torch.randn(len(features), generator=generator), LEAST * mean)
