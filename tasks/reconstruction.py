"""Reconstruction: how much of the activation comes back from the code, and how sparse is the code?

With r = x - x_hat over all real tokens of a sample of texts:
explained variance 1 - sum |r|^2 / sum |x - E x|^2 (E x over the whole sample); mse: mean of r^2 per element; cosine:
mean cos(x, x_hat), 0 for a zero x_hat; l2_ratio: mean |x_hat| / |x|; relative reconstruction bias
sum |x_hat|^2 / sum <x, x_hat> (below 1: shrinkage; Rajamanoharan et al., arXiv:2404.16014); l0: mean number of
non-zero codes; l1: mean sum of |f|; shares of latents that fire on less than 1e-5 of the tokens (dead), at all (alive),
on more than a hundredth (frequent) and a tenth of them (dense); mean cosine of a latent's encoder and decoder rows (for
affine encoders) and of a decoder row and the nearest other one. Pathologies of latents (metrics.pathologies), shares of
all: size_multiple, the median multiple that least squares on one latent alone would give its codes, and the share of
shrunken ones, above 1.1; rows with a near duplicate, at a cosine of 0.9 or more; codes whose correlation with |x| is
0.5 or more in size. Sizes and norms are compared over about `LATENT_TOKENS` tokens.
Sums of squares run in float64 over two passes (first the mean, then centred), so a coordinate whose mean dwarfs its
spread does not eat the digits.

Source: SAEBench core, arXiv:2503.09532. Where we differ from its 0.6.0 code, and why:
- its explained variance subtracts a scalar instead of the mean vector, and its "legacy" one averages a ratio per token;
- its mse is divided by the batch's token count on top of the mean;
- l1 counts |f| (signed codes of identity or PCA would cancel); firing is f != 0 everywhere;
- it counts latents alive on the sample, which grow with its size; here a rate says who is dead, beside that count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from saebench_lite.activations.acts import to_device
from saebench_lite.activations.oom_backoff import with_backoff
from saebench_lite.activations.pooling import chunk_size
from saebench_lite.api.card import Card
from saebench_lite.api.context import EvalContext
from saebench_lite.api.settings import Count, Settings
from saebench_lite.api.subject import Subject
from saebench_lite.api.task import Scores, Task
from saebench_lite.errors import NotApplicable
from saebench_lite.metrics.latents import (
    DEAD_BELOW,
    alive_fraction,
    dead_fraction,
    density_histogram,
    fraction_over,
    nearest_cosines,
    paired_cosine,
)
from saebench_lite.metrics.pathologies import DUPLICATE, share_over
from saebench_lite.metrics.peer_formulas import legacy_terms, saebench_mse, uncentred_variance
from saebench_lite.metrics.reconstruction import explained_variance, row_sums
from saebench_lite.records.metric import Metric
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.protocol import SAE, decoder_of, device_of, reconstruct, unwrapped
from saebench_lite.saes.sparse_codes import Bags, decoded, encoded
from saebench_lite.tasks._latent_sizes import LatentSizes, firing
from saebench_lite.tasks._token_blocks import TokenBlocks, token_blocks

_fidelity, _sparsity = partial(Metric, construct="fidelity"), partial(Metric, construct="sparsity")
_share = partial(_sparsity, lower_bound=0.0, upper_bound=1.0)
_pathology = partial(Metric, construct="pathology")
_faulty = partial(_pathology, better="lower", lower_bound=0.0, upper_bound=1.0)
_cosine = partial(Metric, lower_bound=-1.0, upper_bound=1.0)
_angle = partial(_cosine, construct="geometry", better="neither")

CARD = Card(
    name="reconstruction",
    version=2,
    description="how much of the activation the code gives back, and how sparse it is",
    source="SAEBench core, arXiv:2503.09532; bias: arXiv:2404.16014",
    headline=("explained_variance",),
    beside=("l0",),
    metrics=(
        _fidelity(
            name="explained_variance", meaning="1 - SSE / SST, centred, pooled", better="higher", upper_bound=1.0
        ),
        _fidelity(
            name="mse", meaning="mean squared error per element", better="lower", unit="activation²", lower_bound=0.0
        ),
        _cosine(
            name="cosine", meaning="mean cosine of activation and reconstruction", better="higher", construct="fidelity"
        ),
        _fidelity(
            name="l2_ratio",
            meaning="mean norm of reconstruction over norm of activation",
            better="one",
            lower_bound=0.0,
        ),
        _fidelity(name="relative_bias", meaning="sum |x_hat|² / sum <x, x_hat>; below 1: shrinkage", better="one"),
        _sparsity(name="l0", meaning="mean number of non-zero codes per token", better="neither", lower_bound=0.0),
        _sparsity(name="l1", meaning="mean sum of absolute codes per token", better="neither", lower_bound=0.0),
        _share(name="dead_fraction", meaning="latents that fire on less than 1e-5 of the tokens", better="lower"),
        _share(name="alive_fraction", meaning="latents that fire at least once on the sample", better="neither"),
        _share(name="frequent_fraction", meaning="latents that fire on more than 1 % of tokens", better="neither"),
        _share(name="dense_fraction", meaning="latents that fire on more than 10 % of tokens", better="neither"),
        _angle(name="encoder_decoder_cosine", meaning="mean cosine of a latent's encoder and decoder rows"),
        _angle(name="nearest_decoder_cosine", meaning="mean cosine of a decoder row and the nearest other one"),
        _pathology(
            name="size_multiple",
            meaning="median least-squares multiple of a latent's codes; above 1: shrunken",
            better="one",
        ),
        _faulty(name="shrunken_fraction", meaning="latents whose codes least squares would raise a tenth"),
        _faulty(name="duplicate_fraction", meaning="latents whose decoder row has a near duplicate"),
        _faulty(name="norm_detector_fraction", meaning="latents whose codes follow the input's norm"),
        _fidelity(
            name="saebench_explained_variance", meaning="SAEBench's, uncentred", better="higher", upper_bound=1.0
        ),
        _fidelity(
            name="saebench_explained_variance_legacy",
            meaning="mean of a ratio a token",
            better="higher",
            upper_bound=1.0,
        ),
        _fidelity(
            name="saebench_mse",
            meaning="squared error a token, divided by the block's tokens",
            better="lower",
            unit="activation²",
            lower_bound=0.0,
        ),
    ),
    seeded=False,
    on_request=("saebench_explained_variance", "saebench_explained_variance_legacy", "saebench_mse"),
)


LATENT_TOKENS = 50_000
"Real tokens, about, over which latents' sizes are compared: whole blocks, evenly spaced."


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    max_tokens: Count = 200_000
    "Real tokens used at most: texts are taken evenly spaced until there are as many."
    blocks: Count = 64
    "Groups of neighbouring texts, the units of the bootstrap."
    peer_metrics: bool = False
    "SAEBench's explained variances and mse too, with our blocks as its batches."


class Sample(NamedTuple):
    """Activations and what does not depend on the SAE."""

    blocks: TokenBlocks
    mean: Tensor
    "[d] float64"
    total: list[float]
    "Sum |x - mean|² of each block."
    size: list[float]
    "Mean |x|² of each block."


def prepare(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> Sample:
    """The sample and its variance."""
    blocks = token_blocks(ctx, cfg.max_tokens, cfg.blocks)
    acts = blocks.acts
    mean = torch.zeros(acts.d, dtype=torch.float64, device=acts.x.device)
    for _, x, _ in acts.chunks(1 << 16, str(acts.x.device)):
        mean += x.double().sum(0)
    mean /= acts.tokens
    total, size = [], []
    for _, part in blocks:
        x = part.double()
        total.append((x - mean).square().sum().item())
        size.append(x.square().sum(-1).mean().item())
    if sum(total) == 0:
        raise NotApplicable("the activations do not vary over the sample")
    return Sample(blocks, mean.cpu(), total, size)


@torch.no_grad()
def evaluate(subject: Subject, ctx: EvalContext, sample: Sample, cfg: Config, seeds: Sequence[int]) -> Scores:
    """Values of every metric for one subject.

    Args:
        subject: an SAE that reconstructs its input.
        ctx: the site.
        sample: activations in blocks of texts, from `prepare`.
        cfg: settings of the task.
        seeds: of the repetitions.
    """
    sae, acts, out = subject.require_autoencoder(), sample.blocks.acts, Scores()
    device = device_of(sae)
    fired = torch.zeros(sae.d_sae, dtype=torch.float64, device=device)
    rows = chunk_size(sae.d_sae, device, ctx.memory)
    sizes, step = LatentSizes(sae), -(-acts.tokens // LATENT_TOKENS)
    corpus, first = sample.blocks.corpus, 0
    codes = None if corpus is None else ctx.pooled(sae, corpus, ()).codes()
    for block, (unit, x) in enumerate(sample.blocks):
        here = None if codes is None else codes.rows(first, first + len(x))
        first += len(x)
        looked_at = sizes if block % step == 0 else None
        sums = with_backoff(partial(_block_sums, sae, x, here, fired, looked_at), rows)
        _add(out, unit, sums, len(x), acts.d, sample.total[block])
        if cfg.peer_metrics:
            _add_peer(out, sae, x, sums["sse"], sample, block, ctx.memory)
    _add_latents(out, fired, acts.tokens)
    for name, value in sizes.figures().items():
        out.add(name, value, unit="all")
    _add_geometry(out, subject.name, sae, ctx)
    histogram = density_histogram((fired / acts.tokens).cpu())
    out.diagnostics = {"tokens": acts.tokens, "dead_below": DEAD_BELOW, "density_histogram": histogram}
    return out


def _add_latents(out: Scores, fired: Tensor, tokens: int) -> None:
    """Shares of latents by how often they fire. fired [m]: on how many of the tokens each does."""
    out.add("dead_fraction", dead_fraction(fired, tokens), unit="all")
    out.add("alive_fraction", alive_fraction(fired), unit="all")
    out.add("frequent_fraction", fraction_over(fired, tokens, 0.01), unit="all")
    out.add("dense_fraction", fraction_over(fired, tokens, 0.1), unit="all")


def _add_geometry(out: Scores, name: str, sae: SAE, ctx: EvalContext) -> None:
    """Cosines of encoder and decoder rows, where the SAE has them: an affine encoder, a decoder; else a note.

    Args:
        out: gets the values.
        name: of the subject.
        sae: the SAE.
        ctx: gets the notes.
    """
    decoder = decoder_of(sae)
    if decoder is None:
        ctx.note(f"{name} shows no decoder: no cosines of its directions")
        return
    rows = chunk_size(sae.d_sae, decoder.device, ctx.memory)
    nearest = with_backoff(lambda rows: nearest_cosines(decoder, rows), rows)
    out.add("nearest_decoder_cosine", nearest.mean().item(), unit="all")
    if len(nearest) > 1:
        out.add("duplicate_fraction", share_over(nearest.clamp(min=0.0), DUPLICATE), unit="all")
    bare = unwrapped(sae)
    if isinstance(bare, AffineSAE):
        out.add("encoder_decoder_cosine", paired_cosine(bare.W_enc.T.to(decoder.dtype), decoder), unit="all")
    else:
        ctx.note(f"{name} ({type(bare).__name__}) has no affine encoder that is known: no encoder_decoder_cosine")


def _block_sums(
    sae: SAE, x: Tensor, codes: Bags | None, fired: Tensor, sizes: LatentSizes | None, rows: int
) -> dict[str, float]:
    """Sums over the rows of a block; `fired` and `sizes` are counted up once all of it went through.

    Args:
        sae: the SAE.
        x: activations. [t, d]
        codes: of the block, where they are at hand.
        fired: on how many tokens each latent fires. [m]
        sizes: takes the block's codes, where they are to be looked at.
        rows: of a chunk.
    """
    sums: dict[str, Tensor] = {}
    count, seen = torch.zeros_like(fired), []
    for low in range(0, len(x), rows):
        chunk = to_device(x[low : low + rows], fired.device)
        f = encoded(sae, chunk) if codes is None else codes.rows(low, low + len(chunk))
        hat = decoded(sae, chunk, f)
        if sizes is not None:
            seen.append(sizes.of(f, chunk, hat))
        parts = {name: row.sum() for name, row in row_sums(chunk, hat).items()}
        per_latent, l1 = firing(f, len(fired))
        count += per_latent
        parts["l0"], parts["l1"] = per_latent.sum(), l1
        sums = {name: value + sums.get(name, 0.0) for name, value in parts.items()}
    fired += count
    if sizes is not None:
        sizes.add(seen)
    return dict(zip(sums, torch.stack(list(sums.values())).tolist(), strict=True))


def _add(out: Scores, unit: str, sums: dict[str, float], tokens: int, d: int, total: float) -> None:
    """Values of one block with the weights that make their mean the pooled figure."""
    nan = float("nan")
    out.add("explained_variance", explained_variance(sums["sse"], total), unit=unit, weight=total)
    out.add("mse", sums["sse"] / (tokens * d), unit=unit, weight=tokens)
    out.add("relative_bias", sums["hat"] / sums["dot"] if sums["dot"] > 0 else nan, unit=unit, weight=abs(sums["dot"]))
    for metric, key in (("cosine", "cosine"), ("l2_ratio", "ratio"), ("l0", "l0"), ("l1", "l1")):
        out.add(metric, sums[key] / tokens, unit=unit, weight=tokens)


def _add_peer(out: Scores, sae: SAE, x: Tensor, sse: float, sample: Sample, block: int, memory: int) -> None:
    """SAEBench's figures of one block (its batch), with the weights that make their mean its pooled figure."""
    unit = f"block {block}"
    variance = max(uncentred_variance(sample.size[block], sample.size, x.shape[1]), 0.0)
    uncentred = explained_variance(sse / len(x), variance)
    out.add("saebench_explained_variance", uncentred, unit=unit, weight=variance)
    device = device_of(sae)
    parts = x.split(chunk_size(sae.d_sae, device, memory))
    chunks = [reconstruct(sae, c.to(device, torch.float32)).cpu() for c in parts]
    legacy = legacy_terms(x.double(), torch.cat(chunks).double()).mean().item()
    out.add("saebench_explained_variance_legacy", legacy, unit=unit, weight=len(x))
    out.add("saebench_mse", saebench_mse(sse, len(x)), unit=unit, weight=len(x))


TASK = Task(CARD, Config, prepare, evaluate)
