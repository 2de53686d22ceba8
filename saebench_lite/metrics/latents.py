"""Statistics of single latents: how often they fire, and where their encoder and decoder rows point. Pure functions.

Source: the per-latent statistics of SAEBench core (arXiv:2503.09532). Dead is a rate, as in training, where a latent is
so after millions of tokens without firing (Gao et al., arXiv:2406.04093): silence on a sample says little of its rate.
"""

from __future__ import annotations

import torch
from torch import Tensor

DEAD_BELOW = 1e-5
"Share of tokens below which a latent is dead."


def dead_fraction(fired: Tensor, tokens: int) -> float:
    """Share of latents that fire on less than `DEAD_BELOW` of the tokens; below 1 / DEAD_BELOW tokens, on none.

    fired [m]: on how many of the tokens each fires.
    """
    return (fired.double() / tokens < DEAD_BELOW).double().mean().item()


def alive_fraction(fired: Tensor) -> float:
    """Share of latents that fire at least once, SAEBench's `frac_alive`: it grows with the sample. fired [m]"""
    return (fired > 0).double().mean().item()


def fraction_over(fired: Tensor, tokens: int, share: float) -> float:
    """Share of latents that fire on more than `share` of the tokens. fired [m]: on how many of them each fires."""
    return (fired.double() / tokens > share).double().mean().item()


def density_histogram(density: Tensor) -> dict[str, object]:
    """Latents by log10 of firing density: half-decade bins from 1e-6 to 1, silent ones apart. density [m], on the CPU

    JSON types: `log10_edges`, `latents` in each bin, and how many are `silent` on the sample.
    """
    edges = [round(-6 + i / 2, 1) for i in range(13)]
    alive = density[density > 0].log10()
    counts = torch.histogram(alive.clamp(-6, 0).double(), bins=torch.tensor(edges, dtype=torch.float64)).hist
    return {"log10_edges": edges, "latents": counts.int().tolist(), "silent": int((density == 0).sum())}


def paired_cosine(a: Tensor, b: Tensor) -> float:
    """Mean over rows of cos(a_i, b_i), 0 where either is zero. a, b [m, d]"""
    return (unit_rows(a) * unit_rows(b)).sum(1).mean().item()


def nearest_cosines(rows: Tensor, block: int) -> Tensor:
    """The largest cosine of each row to another one, signed; NaN for a single row. rows [m, d] -> [m] float64

    A zero row has cosine 0 with all others. Products run in float32, in blocks of `block` rows: [block, m] at a time.
    """
    if len(rows) < 2:
        return torch.full((len(rows),), torch.nan, dtype=torch.float64, device=rows.device)
    unit, largest = unit_rows(rows).float(), []
    for low in range(0, len(unit), block):
        cosines = unit[low : low + block] @ unit.T
        own = torch.arange(len(cosines), device=unit.device)
        cosines[own, own + low] = -2.0
        largest.append(cosines.amax(1).double().clamp(-1.0, 1.0))
    return torch.cat(largest)


def nearest_cosine(rows: Tensor, block: int) -> float:
    """Mean of `nearest_cosines`: NaN for a single row. rows [m, d]"""
    return nearest_cosines(rows, block).mean().item()


def unit_rows(rows: Tensor) -> Tensor:
    """Rows [m, d] over their norms, float64; zero rows stay zero."""
    rows = rows.double()
    norms = rows.norm(dim=1, keepdim=True)
    return rows / torch.where(norms > 0, norms, 1.0)
