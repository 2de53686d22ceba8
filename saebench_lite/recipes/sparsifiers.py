"""Which latents are active, differentiably: JumpReLU's step, top-k rules, and the loss that revives dead latents."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


class _Step(torch.autograd.Function):
    """pre * [pre > theta] and [pre > theta] with rectangular straight-through gradients to both arguments."""

    @staticmethod
    def forward(
        ctx: Any,  # Any: torch's context, which takes any attribute
        pre: Tensor,
        theta: Tensor,
        eps: float,
    ) -> tuple[Tensor, Tensor]:
        """Values and mask, both [n, m].

        Args:
            ctx: keeps what `backward` needs.
            pre: pre-activations. [n, m]
            theta: thresholds. [m]
            eps: width of the kernel.
        """
        ctx.save_for_backward(pre, theta)
        ctx.eps = eps
        on = (pre > theta).to(pre.dtype)
        return pre * on, on

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:  # Any: as in `forward`
        """Gradients of pre [n, m] and theta [m]."""
        grad_value, grad_on = grads
        pre, theta = ctx.saved_tensors
        kernel = ((pre - theta).abs() < ctx.eps / 2).to(pre.dtype) / ctx.eps
        through = kernel * (theta * grad_value + grad_on)
        return (pre > theta) * grad_value + through, -through.sum(0), None


def jump(pre: Tensor, theta: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """JumpReLU values and their on/off mask [n, m], differentiable in pre [n, m] and theta [m]."""
    return _Step.apply(pre, theta, eps)


def keep_topk(score: Tensor, k: int) -> Tensor:
    """The k largest of each row after relu, zeros elsewhere. [n, m]"""
    values, indices = score.topk(k, -1, sorted=False)
    return torch.zeros_like(score).scatter(-1, indices, values.relu())


def keep_batch_topk(score: Tensor, k: float) -> Tensor:
    """The int(k * n) largest of the whole batch after relu, zeros elsewhere. [n, m]"""
    flat = score.relu().flatten()
    count = int(k * len(score))
    if flat.is_cuda:
        values, indices = flat.topk(count, sorted=False)
        return torch.zeros_like(flat).scatter(0, indices, values).view_as(score)
    # numpy takes a ninth of torch's time for millions of values on a CPU, but many times as long where most tie at 0
    positive = flat.detach().float().numpy()
    positive = positive[positive > 0]
    if len(positive) <= count:
        return flat.view_as(score)
    cut = float(np.partition(positive, -count)[-count])
    kept = flat >= cut
    if (excess := int(kept.sum()) - count) > 0:
        kept[(flat == cut).nonzero()[:excess, 0]] = False
    return torch.where(kept, flat, 0.0).view_as(score)


def smallest_kept(f: Tensor) -> Tensor:
    """The smallest positive code of f [n, m]; infinite if there is none. []"""
    return torch.where(f > 0, f, torch.inf).amin()


def auxiliary_loss(error: Tensor, score: Tensor, dead: Tensor, decoder: Tensor, k: int) -> Tensor:
    """Share of the residual's variance that the k strongest dead latents leave unexplained (Gao et al., A.2).

    Zero if nothing is dead.

    Args:
        error: residuals, detached. [n, d]
        score: pre-activations. [n, m]
        dead: which latents have not fired lately. [m] bool
        decoder: rows. [m, d]
        k: dead latents used for a row, at most.
    """
    if not dead.is_cuda and not dead.any():  # on CUDA the question would stall the queue
        return error.new_zeros(())
    f = keep_topk(score.masked_fill(~dead, -torch.inf), min(k, score.shape[1]))
    variance = (error - error.mean(0)).square().sum(-1).mean()
    return dead.any() * (error - f @ decoder).square().sum(-1).mean() / variance.clamp(min=1e-12)
