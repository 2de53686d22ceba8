"""Trees of features: who is whose parent, how often a feature must be drawn, and what a parent's silence does."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from saebench_lite.worlds.spec import WorldSpec


class Forest(NamedTuple):
    """Levels of the trees. Siblings lie side by side, so a level is [parents, branching] of consecutive indices."""

    parent: Tensor
    "[N] index of the parent, -1 for roots and free features"
    depth: Tensor
    "[N] 0 for roots, -1 for free features"
    levels: list[tuple[int, int, int]]
    "(first parent, first child, number of parents) of each level below the roots"
    branching: int


def plant(spec: WorldSpec) -> Forest:
    """The forest of a spec: filled level by level, so low (frequent) indices are roots."""
    parent = torch.full((spec.features,), -1)
    depth = torch.full((spec.features,), -1)
    levels = []
    first, width = 0, spec.roots
    depth[:width] = 0
    for level in range(1, spec.depth + 1 if spec.roots else 1):
        child = first + width
        parent[child : child + width * spec.branching] = torch.arange(first, child).repeat_interleave(spec.branching)
        depth[child : child + width * spec.branching] = level
        levels.append((first, child, width))
        first, width = child, width * spec.branching
    return Forest(parent, depth, levels, spec.branching)


def drawing_rates(base: Tensor, forest: Forest, exclusive: bool) -> Tensor:
    """Rates [N] at which features must be drawn for base rates [N] to survive the rules; clamped at 1.

    A child is drawn 1/p_parent times as often and, among exclusive siblings, (1 + sum of the others' p / p_parent)
    times. Siblings whose rates add up to more than their parent's cannot reach them whatever is drawn.
    """
    out = base.clone()
    for first, child, width in forest.levels:
        p = base[child : child + width * forest.branching].view(width, forest.branching)
        p_parent = base[first : first + width, None]
        factor = 1 / p_parent
        if exclusive:
            factor = factor * (1 + (p.sum(1, keepdim=True) - p) / p_parent)
        out[child : child + width * forest.branching] = (p * factor).clamp(max=1.0).flatten()
    return out


def apply_rules(a: Tensor, forest: Forest, mean: Tensor, spec: WorldSpec, generator: torch.Generator) -> Tensor:
    """Silences children of silent parents, keeps one of exclusive siblings, scales children; a [n, N], in place.

    Level by level, so the grandchildren of a silenced feature fall silent too.

    Args:
        a: magnitudes, changed in place. [n, N]
        forest: who is whose child.
        mean: mean magnitudes. [N]
        spec: the rules that hold.
        generator: draws the sibling that stays.
    """
    for first, child, width in forest.levels:
        above = a[:, first : first + width, None]
        block = a[:, child : child + width * forest.branching].view(len(a), width, forest.branching)
        if spec.scale_children:
            block *= above / mean[first : first + width, None]
        else:
            block *= above > 0
        if spec.exclusive:
            lot = torch.rand(block.shape, generator=generator, device=a.device).masked_fill_(block <= 0, -1.0)
            block *= lot == lot.amax(-1, keepdim=True)
    return a
