"""Featurisers: ways to choose the part of an activation that stands for an attribute.

Each gives an `Edit`: with sources, what replaces the activations of bases. Those that learn see trials and facts of the
train split alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from saebench_lite.metrics.interchange import between_share, swap_subspace
from saebench_lite.models.protocol import Model
from saebench_lite.saes.protocol import SAE, decode_like, device_of
from saebench_lite.tasks._ravel_trials import Edit, Piece, Trials, logits_after

DAS_RATE, MASK_RATE, COLDEST = 0.003, 0.1, 0.01
"Learning rates of Adam, and the temperature at which the mask's annealing ends (from 1)."


def subspace_edit(basis: Tensor) -> Edit:
    """Swaps the part in the subspace of orthonormal columns [d, r]."""
    return lambda x, source: swap_subspace(x, source, basis.to(x))


def latent_edit(sae: SAE, latents: Tensor) -> Edit:
    """Swaps the codes of some latents [k]; what the SAE does not reconstruct stays the base's."""

    def edit(x: Tensor, source: Tensor) -> Tensor:
        at = x.to(device_of(sae), torch.float32)
        own, other = sae.encode(at), sae.encode(source.to(at))
        swapped = own.clone()
        swapped[:, latents] = other[:, latents]
        return x + (decode_like(sae, swapped, at) - decode_like(sae, own, at)).to(x)

    return edit


def ranked_by_group(values: Tensor, group: Tensor) -> Tensor:
    """Columns of values [n, m] from the largest share of variance between groups [n] to the least: [m] long."""
    return between_share(values, group).sort(descending=True, stable=True).indices


def completed(basis: Tensor, r: int, generator: torch.Generator) -> Tensor:
    """An orthonormal basis [d, min(r, d)] that begins with the columns of another [d, q], then goes on at random."""
    d = basis.shape[0]
    more = torch.randn(d, d, generator=generator).to(basis)
    return torch.linalg.qr(torch.cat([basis[:, :r], more], 1)).Q[:, : min(r, d)]


def train_das(lm: Model, hook: str, trials: Trials, start: Tensor, steps: int) -> Tensor:
    """Distributed alignment search: the basis [d, r] whose swap makes the right answers of the trials likely.

    Args:
        lm: the model.
        hook: where.
        trials: of the train split.
        start: orthonormal columns to begin with. [d, r]
        steps: of Adam, one batch of trials each.
    """
    weight = start.clone().requires_grad_()

    def edit_at(_: float) -> Edit:
        return subspace_edit(torch.linalg.qr(weight).Q)

    _train(lm, hook, trials, weight, edit_at, DAS_RATE, steps)
    return torch.linalg.qr(weight.detach()).Q


def train_mask(lm: Model, hook: str, trials: Trials, steps: int) -> Tensor:
    """Differential binary masking: neurons whose swap makes the right answers of the trials likely. [k] long

    The mask is sigmoid(theta / T) while T falls from 1 to COLDEST, then theta > 0.

    Args:
        lm: the model.
        hook: where.
        trials: of the train split.
        steps: of Adam, one batch of trials each.
    """
    theta = torch.zeros(lm.hook_width(hook), device=lm.device, requires_grad=True)

    def edit_at(done: float) -> Edit:
        mask = torch.sigmoid(theta / COLDEST**done)
        return lambda x, source: x + mask * (source - x)

    _train(lm, hook, trials, theta, edit_at, MASK_RATE, steps)
    return (theta.detach() > 0).nonzero()[:, 0]


@torch.enable_grad()
def _train(
    lm: Model,
    hook: str,
    trials: Trials,
    weight: Tensor,
    edit_at: Callable[[float], Edit],
    rate: float,
    steps: int,
) -> None:
    """Fits `weight` in place by the cross-entropy of the answers.

    Args:
        lm: the model.
        hook: where.
        trials: of the train split.
        weight: what is fitted.
        edit_at: the edit after a share of the steps.
        rate: of Adam.
        steps: of it.
    """
    optimiser = torch.optim.Adam([weight], lr=rate)
    for step, piece in zip(range(steps), itertools.cycle(trials.pieces)):
        optimiser.zero_grad()
        loss = answer_loss(logits_after(lm, hook, piece, edit_at(step / max(1, steps - 1)), gradients=True), piece)
        loss.backward()
        optimiser.step()


def answer_loss(logits: Tensor, piece: Piece) -> Tensor:
    """Mean cross-entropy of the tokens of the answers. logits [b, L, V]"""
    ids = piece.batch.ids[:, 1:]
    place = torch.arange(1, ids.shape[1] + 1, device=ids.device)
    asked = (place >= piece.starts.to(ids.device)[:, None]) & (place < piece.lengths.to(ids.device)[:, None])
    return torch.nn.functional.cross_entropy(logits[:, :-1][asked].float(), ids[asked])


def best(edits: Sequence[Edit], score: Callable[[Edit], float]) -> int:
    """The place of the edit with the highest score, the first of those that tie."""
    scores = [score(edit) for edit in edits]
    return scores.index(max(scores))
