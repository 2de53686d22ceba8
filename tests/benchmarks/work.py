"""What any implementation must do to score one more SAE, task by task: operations and bytes."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from saebench_lite.api.context import EvalContext
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.tasks import absorption, ce_delta


class Work(NamedTuple):
    """Operations in float32 and bytes moved."""

    flops: float
    moved: float

    def __add__(self, other: object) -> Work:
        assert isinstance(other, Work)
        return Work(self.flops + other.flops, self.moved + other.moved)


def coding(sae: AffineSAE, tokens: int, active: float = 0.0) -> Work:
    """Encoding every token once, and adding up the decoder rows of the `active` latents that fire on one."""
    flops = 2 * tokens * sae.d_in * (sae.d_sae + active)
    return Work(flops, 4 * (tokens * sae.d_in + sae.d_in * sae.d_sae * (2 if active else 1)))


def table(sae: AffineSAE, texts: int, poolings: int = 1) -> Work:
    """Pooled codes written once and read once."""
    return Work(0.0, 2 * 4 * poolings * texts * sae.d_sae)


def linear_flops(*modules: nn.Module) -> int:
    """Operations a token of all matrix products in the modules."""
    return sum(2 * m.weight.numel() for part in modules for m in part.modules() if isinstance(m, nn.Linear))


def reconstruction_work(ctx: EvalContext, sae: AffineSAE, sample: Any, active: float) -> Work:
    return coding(sae, sample.acts.tokens, active)


def ce_delta_work(ctx: EvalContext, sae: AffineSAE, shared: ce_delta.Shared, active: float) -> Work:
    """The blocks after the hook and the head once; the clean model's logits are only read, as if they were at hand."""
    lm: Any = ctx.lm
    after = lm.blocks[int(ctx.hook.split(".")[1]) + 1 :]
    real = sum(int(p.batch.real.sum()) for p in shared.pieces)
    work = coding(sae, real, active)
    for piece in shared.pieces:
        b, length = piece.batch.ids.shape
        attention = 4 * length * lm.width * len(after)
        flops = b * length * (linear_flops(*after, lm.net.get_output_embeddings()) + attention)
        work += Work(flops, 3 * 4 * b * length * lm.vocabulary)
    return work


def sparse_probing_work(ctx: EvalContext, sae: AffineSAE, prepared: Any, active: float) -> Work:
    acts = ctx.acts(ctx.data.datasets[0].corpus)
    return coding(sae, acts.tokens) + table(sae, len(acts), 2)


def concept_detection_work(ctx: EvalContext, sae: AffineSAE, prepared: Any, active: float) -> Work:
    acts = ctx.acts(ctx.data.concepts[0].corpus)
    return coding(sae, acts.tokens) + table(sae, len(acts))


def absorption_work(ctx: EvalContext, sae: AffineSAE, parts: list[absorption.PreparedWords], active: float) -> Work:
    """Every word encoded once, and every decoder direction held against every parent's probe."""
    work = Work(0.0, 0.0)
    for part in parts:
        words, parents = len(part.x), len(part.parents)
        work += coding(sae, words) + table(sae, words)
        work += Work(2 * parents * sae.d_sae * sae.d_in, 4 * sae.d_sae * sae.d_in)
    return work


def active_latents(sae: AffineSAE, x: Tensor) -> float:
    """Mean number of codes that are not zero on rows x [n, d_in]."""
    return torch.count_nonzero(sae.encode(x.float())).item() / len(x)
