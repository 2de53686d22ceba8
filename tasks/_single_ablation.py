"""Single latents taken away where they fire: which, where, and what it does to the next prediction."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from saebench_lite.activations.pooling import chunk_size
from saebench_lite.api.context import EvalContext
from saebench_lite.metrics.effects import effect_per_norm
from saebench_lite.saes.protocol import SAE, device_of, encode_latents
from saebench_lite.stats.seeds import derive_seed, rng
from saebench_lite.tasks._text_table import Edits, TextTable, contributions, divergences

TINY_STEP = 1e-4
"Change of an activation, as a share of its norm, whose divergence is called rounding."


class Blocks(NamedTuple):
    """Texts in groups."""

    table: TextTable
    bounds: list[int]
    "First text of each block, and the number of texts."


class Effects(NamedTuple):
    """Drawn latents of a block."""

    own: Tensor
    "Median effect of each. [n]"
    direction: Tensor
    "The same of random directions at its positions; empty where they are not asked for. [n]"


def effects_of(
    sae: SAE, ctx: EvalContext, blocks: Blocks, latents: int, positions: int, seed: int, *, random: bool = False
) -> dict[int, Effects]:
    """Median effects of the latents drawn for each block; blocks without any are left out.

    Args:
        sae: an SAE.
        ctx: the site.
        blocks: of texts.
        latents: of a block at most.
        positions: a latent.
        seed: of the draw.
        random: whether random directions of the same norms are tried at the same positions.
    """
    parts = np.array_split(rng("causal_effect latents", seed, sae.d_sae).permutation(sae.d_sae), len(blocks.bounds) - 1)
    drawn = [
        _draw(sae, ctx, blocks, block, np.sort(part), latents, positions, seed) for block, part in enumerate(parts)
    ]
    text, position, latent = (torch.from_numpy(np.concatenate(columns)) for columns in zip(*drawn, strict=True))
    acts = blocks.table.prefix.acts
    x = acts[text.to(acts.device), position.to(acts.device)].float()
    taken = contributions(sae, x, latent, chunk_size(sae.d_sae, device_of(sae), ctx.memory))
    deltas, norm = [taken], taken.norm(dim=1)
    if random:
        generator = torch.Generator().manual_seed(derive_seed("causal_effect directions", seed))
        drawn_at = torch.randn(taken.shape, generator=generator).to(taken.device)
        deltas.append(drawn_at * (norm / drawn_at.norm(dim=1).clamp(min=1e-12))[:, None])
    both = [effect_per_norm(_at(ctx, blocks.table, text, position, delta), norm.cpu()) for delta in deltas]
    medians = [effect.view(-1, positions).quantile(0.5, 1) for effect in both]
    own, direction = medians[0], medians[-1] if random else torch.empty(0)
    counts = np.cumsum([0, *(len(columns[0]) // positions for columns in drawn)])
    slices = [slice(low, high) for low, high in pairwise(counts.tolist())]
    return {block: Effects(own[s], direction[s]) for block, s in enumerate(slices) if s.stop > s.start}


def _draw(
    sae: SAE, ctx: EvalContext, blocks: Blocks, block: int, pool: np.ndarray, latents: int, positions: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(text, position, latent) of each ablation of a block, `positions` one after another for a latent.

    Args:
        sae: an SAE.
        ctx: the site.
        blocks: of texts.
        block: which one.
        pool: latents that the block may draw from. [m]
        latents: of them at most.
        positions: a latent.
        seed: of the draw.
    """
    low, high = blocks.bounds[block : block + 2]
    text, position = blocks.table.batch.real[low:high].nonzero(as_tuple=True)
    device = device_of(sae)
    which = torch.from_numpy(pool).to(device)
    rows = chunk_size(sae.d_sae, device, ctx.memory)
    x = blocks.table.prefix.acts[low:high][text, position]
    with torch.no_grad():
        fires = [(encode_latents(sae, p.to(device, torch.float32), which) != 0).cpu() for p in x.split(rows)]
    fired = torch.cat(fires).numpy()
    able = np.flatnonzero(fired.sum(0) >= positions)
    draw = rng("causal_effect", seed, block, sae.d_sae)
    chosen = draw.permutation(able)[:latents]
    token = [draw.permutation(np.flatnonzero(fired[:, column]))[:positions] for column in chosen]
    at = np.concatenate(token) if token else np.empty(0, dtype=np.int64)
    return text.cpu().numpy()[at] + low, position.cpu().numpy()[at], np.repeat(pool[chosen], positions)


def _at(ctx: EvalContext, table: TextTable, text: Tensor, position: Tensor, taken: Tensor) -> Tensor:
    """Divergence [n] at position [n] of text [n] when taken [n, d] is subtracted from the activation there."""
    copy = torch.arange(len(text))
    compared = torch.zeros(len(text), table.batch.ids.shape[1], dtype=torch.bool)
    compared[copy, position] = True
    return divergences(ctx, table, Edits(text, copy, position, taken, compared))[copy, position]


def rounding(ctx: EvalContext, table: TextTable, most: int = 32) -> float:
    """Median divergence at `most` positions under a change of `TINY_STEP` of the norm, in nats."""
    text, position = table.batch.real.cpu().nonzero(as_tuple=True)
    at = torch.linspace(0, len(text) - 1, min(most, len(text))).round().long()
    acts = table.prefix.acts[text[at].to(table.final.device), position[at].to(table.final.device)].float()
    step = torch.randn(acts.shape, generator=torch.Generator().manual_seed(0)).to(acts.device)
    step *= (TINY_STEP * acts.norm(dim=1) / step.norm(dim=1))[:, None]
    return _at(ctx, table, text[at], position[at], step).quantile(0.5).item()
