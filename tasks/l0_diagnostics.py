"""L0 diagnostics: do decoder rows mix features, as they do where an SAE's L0 is not that of the model?

With w_i the decoder rows of norm 1, m their number, b what the SAE writes where no latent fires, n = round(share m):
c_dec = mean over i < j of |w_i . w_j|; c_enc: the same of the encoder's columns (affine encoders); excess: c_dec minus
sqrt(2 / (pi d)), its value for random rows of d dimensions (good rows, m <= d of them, lie below it);
s_n_dec: of a block of t tokens all t m projections (x - b) . w_i, sorted from the largest, that at place n t, counted
from 0; c_dec_alive: c_dec over the latents that fire in the sample; l0: mean number of non-zero codes.
n must exceed any L0 that is plausible and stay below m / 2: the paper has 12 and 18 of 50, 12,000 of 32,768, and the
default share of .366 gives 18 and 11,993. Where n lies below the SAE's own L0, s_n_dec is missing and a note says so.
No figure says by itself whether an L0 is right: `saebench-lite advise-l0` holds SAEs of several L0 beside each other.
The units of cosines are 64 groups of latents, whose values are means of jackknife pseudo-values; those of s_n_dec and
l0 are blocks of texts.

Source: "Sparse but Wrong", Chanin & Garriga-Alonso, arXiv:2508.16560. Where we differ, and why:
- rows are brought to norm 1 for s_n_dec too, whose released code leaves them as stored: else it scales with the norms;
- its batches are blocks of neighbouring texts, the units of the bootstrap, instead of 100 random ones of 4,096 tokens;
- c_dec_alive is ours: rows of latents that never fire keep the cosines of their random start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
from torch import Tensor

from saebench_lite.activations.acts import to_device
from saebench_lite.activations.oom_backoff import with_backoff
from saebench_lite.activations.pooling import chunk_size
from saebench_lite.api.card import Card
from saebench_lite.api.context import EvalContext
from saebench_lite.api.settings import Count, Range, Settings
from saebench_lite.api.subject import Subject
from saebench_lite.api.task import Scores, Task
from saebench_lite.metrics.feature_mixing import absolute_cosines, nth_projection, random_cosine
from saebench_lite.records.metric import Metric
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.protocol import SAE, decode_like, device_of, unwrapped
from saebench_lite.tasks._token_blocks import TokenBlocks, token_blocks

_angle = partial(Metric, construct="geometry", better="neither")
_cosine = partial(_angle, lower_bound=0.0, upper_bound=1.0)

CARD = Card(
    name="l0_diagnostics",
    version=1,
    description="decoder cosines and nth projection, whose minimum over L0 marks the right one",
    source='"Sparse but Wrong", arXiv:2508.16560',
    headline=("c_dec", "s_n_dec"),
    metrics=(
        _cosine(name="c_dec", meaning="mean absolute cosine of two decoder rows"),
        _angle(name="excess", meaning="c_dec minus that of random rows", lower_bound=-1.0, upper_bound=1.0),
        _cosine(name="c_dec_alive", meaning="c_dec over latents that fire in the sample"),
        _cosine(name="c_enc", meaning="mean absolute cosine of two encoder columns"),
        _angle(name="s_n_dec", meaning="nth largest decoder projection a token", unit="activation"),
        Metric(
            name="l0",
            meaning="mean number of non-zero codes per token",
            better="neither",
            lower_bound=0.0,
            construct="sparsity",
        ),
    ),
    default=False,
    seeded=False,
)

GROUPS = 64
"Groups of latents, the units of the cosines: each holds every 64th latent."


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    share: Annotated[float, Range(0.01, 0.5)] = 0.366
    "n over the number of latents; n is in the place of the L0 that no SAE of the family should have."
    max_tokens: Count = 20_000
    "Real tokens used at most: texts are taken evenly spaced until there are as many."
    blocks: Count = 32
    "Groups of neighbouring texts, the units of the bootstrap."


def prepare(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> TokenBlocks:
    """The sample of activations."""
    return token_blocks(ctx, cfg.max_tokens, cfg.blocks)


@torch.no_grad()
def evaluate(subject: Subject, ctx: EvalContext, sample: TokenBlocks, cfg: Config, seeds: Sequence[int]) -> Scores:
    """The figures of one SAE.

    Args:
        subject: an SAE that shows its decoder.
        ctx: the site.
        sample: activations, from `prepare`.
        cfg: settings of the task.
        seeds: of the repetitions.
    """
    sae, decoder, out = subject.require_autoencoder(), subject.require_decoder(), Scores()
    fired = _add_l0(out, sae, sample, ctx.memory)
    n = round(cfg.share * sae.d_sae)
    out.diagnostics = {"n": n, "tokens": sample.acts.tokens, "alive": int((fired > 0).sum())}
    _add_cosines(out, subject.name, sae, decoder, fired, ctx)
    l0 = fired.sum().item() / sample.acts.tokens
    if l0 >= n:
        ctx.note(f"{subject.name} has an L0 of {l0:.4g}, not below n = {n}: no s_n_dec; a larger share makes n larger")
        return out
    _add_projections(out, sae, decoder, sample, n, ctx.memory)
    return out


def _add_l0(out: Scores, sae: SAE, sample: TokenBlocks, memory: int) -> Tensor:
    """Adds the L0 of each block; returns on how many tokens each latent fires. [d_sae]"""
    device = device_of(sae)
    fired = torch.zeros(sae.d_sae, dtype=torch.float64, device=device)
    rows = chunk_size(sae.d_sae, device, memory)
    for unit, x in sample:
        counts = with_backoff(lambda rows, x=x: _fired(sae, x, rows), rows)
        fired += counts
        out.add("l0", counts.sum().item() / len(x), unit=unit, weight=len(x))
    return fired


def _fired(sae: SAE, x: Tensor, rows: int) -> Tensor:
    """On how many tokens of x [t, d] each latent fires [d_sae], float64."""
    device = device_of(sae)
    parts = [(sae.encode(to_device(part, device)) != 0).sum(0, dtype=torch.float64) for part in x.split(rows)]
    return torch.stack(parts).sum(0)


def _add_cosines(out: Scores, name: str, sae: SAE, decoder: Tensor, fired: Tensor, ctx: EvalContext) -> None:
    """Mean absolute cosines of decoder rows and of encoder columns.

    Args:
        out: gets the values.
        name: of the subject.
        sae: the SAE.
        decoder: its rows. [d_sae, d]
        fired: on how many tokens each latent fires. [d_sae]
        ctx: gets the notes.
    """
    rows = chunk_size(sae.d_sae, decoder.device, ctx.memory)

    def add(metric: str, directions: Tensor, minus: float = 0.0) -> None:
        values = with_backoff(lambda rows: absolute_cosines(directions, rows), rows).cpu()
        for i in range(min(GROUPS, len(values))):
            group = values[i::GROUPS]
            out.add(metric, group.mean().item() - minus, unit=f"latents {i}", weight=len(group))

    add("c_dec", decoder)
    add("excess", decoder, random_cosine(decoder.shape[1]))
    add("c_dec_alive", decoder[fired.to(decoder.device) > 0])
    bare = unwrapped(sae)
    if isinstance(bare, AffineSAE):
        add("c_enc", bare.W_enc.T)
    else:
        ctx.note(f"{name} ({type(bare).__name__}) has no affine encoder that is known: no c_enc")


def _add_projections(out: Scores, sae: SAE, decoder: Tensor, sample: TokenBlocks, n: int, memory: int) -> None:
    """The nth projection of each block, of activations less what the SAE writes where no latent fires.

    Args:
        out: gets the values.
        sae: the SAE.
        decoder: its rows. [d_sae, d]
        sample: activations in blocks.
        n: place of the projection, in latents a token.
        memory: bytes that the projections may take at once.
    """
    silent = torch.zeros(1, sae.d_sae, device=decoder.device)
    for unit, x in sample:
        x = to_device(x, decoder.device)
        parts = x.split(chunk_size(sae.d_sae, decoder.device, memory))
        x = torch.cat([part - decode_like(sae, silent.expand(len(part), -1), part) for part in parts])
        rows = max(1, memory // (40 * len(x)))
        value = with_backoff(lambda rows, x=x: nth_projection(x, decoder, n, rows), rows)
        out.add("s_n_dec", value, unit=unit, weight=len(x))


TASK = Task(CARD, Config, prepare, evaluate)
