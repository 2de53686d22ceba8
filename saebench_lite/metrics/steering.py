"""What steered continuations are scored by. Pure functions."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor


def fluency(nll: Tensor, reference: Tensor | float) -> Tensor:
    """Perplexity of unsteered continuations over that of a steered one, at most 1: exp(reference - nll). [...]

    nll, reference: mean negative log-likelihood a token under the unsteered model, in nats.
    """
    return (torch.as_tensor(reference, dtype=torch.float64) - nll.double()).exp().clamp(max=1.0)


def harmonic_mean(a: Tensor, b: Tensor) -> Tensor:
    """2 a b / (a + b) of shares [...], 0 where both are 0."""
    total = a + b
    return torch.where(total > 0, 2 * a * b / torch.where(total > 0, total, 1.0), 0.0)


def degenerate(ids: Tensor, least: float = 0.5) -> Tensor:
    """Whether a continuation repeats itself: a share below `least` of its pairs of neighbours are distinct. [...]

    ids [..., n] token ids; with fewer than two tokens none is. Source: distinct-2 of Li et al., arXiv:1510.03055.
    """
    flat = ids.reshape(-1, ids.shape[-1])
    pairs = [list(pairwise(row)) for row in flat.tolist()]
    shares = [len(set(row)) / len(row) if row else 1.0 for row in pairs]
    return torch.tensor([share < least for share in shares]).reshape(ids.shape[:-1])


def output_score(probabilities: Tensor, tokens: Tensor) -> Tensor:
    """(1 - best rank / V) times the largest probability of a set of tokens in next-token predictions. [...]

    probabilities [..., V], tokens [..., t] long; ranks count from 0, ties by the lower id.
    Source: output score of Arad et al., arXiv:2505.20063, section 4.
    """
    rank = probabilities.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
    best = rank.gather(-1, tokens).amin(-1).double()
    return (1 - best / probabilities.shape[-1]) * probabilities.gather(-1, tokens).amax(-1).double()


def within_budget(presence: Tensor, excess: Tensor, budget: float) -> int | None:
    """Strength of the largest presence [s] among those whose excess nll [s] is at most `budget`; None without any."""
    able = torch.where(excess <= budget, presence, -torch.inf)
    return int(able.argmax()) if bool((excess <= budget).any()) else None
