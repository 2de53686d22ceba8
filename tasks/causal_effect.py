"""Causal effect: how much do the model's predictions change when one latent is taken away where it fires?

At a position t where latent i fires, what it writes is subtracted from the activation x; the reconstruction's error
stays: delta = decode(z) - decode(z with z_i = 0), e(i, t) = KL(p(.|t) || p without delta) / |delta|, in nats per unit
of norm. Only the layers after the hook run. a_i: the median of e(i, t) over the drawn positions of i.
- effect: the median of a_i over the drawn latents;
- log2_ratio: log2 of the Hodges-Lehmann ratio, the median over pairs of log2 a_i - log2 b_j, b_j being the same of
  random latents: of `matched_random`, random directions of the SAE's width and L0. 0: no more than random latents;
- log2_soft_frozen (on request): the same against latents whose directions stayed near their random start;
- log2_direction: the median over latents of log2 a_i - log2 r_i, r_i being the effect of random directions of the same
  norms at the same positions, which takes out what positions and norms differ by;
- targeted: T / (T + C), T and C being the mean KL a token of texts with and without a labelled concept when its latent
  (largest standardised difference of class means on training texts) is taken away wherever it fires. .5: its effect
  falls as much on other texts. selectivity: targeted, less the mean of that of random latents of the same firing rate
  and written norm.
Units of the first four are blocks of texts, each with latents of its own and positions of its own texts, so that
intervals are over latents and positions; those of the others are concepts.

KL grows with the square of a small perturbation, so that the effect per norm still grows with the norm, and log2_ratio
with the difference of the two dictionaries' norms; log2_direction does not. On three worlds with planted causes
(`saebench-lite audit --causes`, world small, secret-3101, secret-3102) log2_direction puts trained SAEs over
soft-frozen over random ones each time, and the oracle over trained ones on two. log2_ratio puts SAEs of shrunken codes
(ReLU) below random dictionaries there. targeted and selectivity tell random dictionaries from the others, not those
from each other. So log2_direction is the one to rank by.

It does not measure whether latents are meaningful, nor how much of the model they explain; effects that come later in
the text, and latents that fire in less than `positions` tokens of a block, are not seen. With a model in bfloat16 small
effects are rounding: `floor` in the diagnostics is the KL that a change of 1e-4 of the norm makes.

Source: zero ablation with controls after a pre-registered study of Gemma 2 2B (per norm because raw KL favours frequent
latents; medians because one latent in 240 outweighs all others); targeted against collateral effect after TPP
(SAEBench, arXiv:2503.09532), whose published form follows no truth (arXiv:2605.18229). Where we differ: latents and
positions are drawn in blocks, instead of a bootstrap; targeted effects are on predictions, instead of on probes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, NamedTuple

import numpy as np
import torch
from torch import Tensor

from saebench_lite.api import registered
from saebench_lite.api.baseline import DerivesSAE, MakesSAE
from saebench_lite.api.card import Card
from saebench_lite.api.context import EvalContext
from saebench_lite.api.settings import Count, Range, Settings
from saebench_lite.api.subject import Subject
from saebench_lite.api.task import Reading, Scores, Task
from saebench_lite.errors import NotApplicable
from saebench_lite.metrics.effects import hodges_lehmann_log2
from saebench_lite.records.metric import Metric
from saebench_lite.stats.seeds import derive_seed
from saebench_lite.tasks._sampled_texts import sampled, sampled_tokens
from saebench_lite.tasks._single_ablation import Blocks, effects_of, rounding
from saebench_lite.tasks._targeted_effect import Concepts, add_targeted, concepts_of
from saebench_lite.tasks._text_table import text_table

MADE_FROM = 42
"Seed of the soft-frozen control: that of runs, so that one which was trained before is read from the cache."
ROUNDING = 1e-4
"Nats of rounding above which a note says so."

_effect = partial(Metric, construct="causal_effect")
_above = partial(_effect, better="higher", chance=0.0)

CARD = Card(
    name="causal_effect",
    version=1,
    description="how much predictions change when one latent is taken away, against random latents",
    source="zero ablation per norm with Hodges-Lehmann ratios; TPP of SAEBench, arXiv:2503.09532",
    headline=("log2_direction", "log2_ratio", "selectivity"),
    metrics=(
        _above(
            name="log2_ratio",
            meaning="log2 Hodges-Lehmann ratio of effects to random latents'; low where codes are shrunken",
        ),
        _above(name="log2_direction", meaning="log2 of effects over those of random directions of the same norm"),
        _above(name="log2_soft_frozen", meaning="log2 of the ratio to latents near their random start"),
        _effect(
            name="effect",
            meaning="median KL of ablating a latent per unit of norm",
            better="neither",
            unit="nats per norm",
            lower_bound=0.0,
        ),
        _above(
            name="selectivity",
            meaning="targeted, less that of random latents of the same rate and norm",
            lower_bound=-1.0,
            upper_bound=1.0,
        ),
        _effect(
            name="targeted",
            meaning="share of the effect that falls on texts of the latent's concept",
            better="higher",
            lower_bound=0.0,
            upper_bound=1.0,
            chance=0.5,
        ),
        _effect(
            name="targeted_matched",
            meaning="targeted of random latents of the same rate and norm",
            better="neither",
            lower_bound=0.0,
            upper_bound=1.0,
        ),
        _effect(
            name="target_effect",
            meaning="KL a token in texts of the concept",
            better="neither",
            unit="nats",
            lower_bound=0.0,
        ),
        _effect(
            name="collateral_effect",
            meaning="KL a token in other texts",
            better="neither",
            unit="nats",
            lower_bound=0.0,
        ),
    ),
    requires_next_token=True,
    on_request=(
        "log2_soft_frozen",
        "selectivity",
        "targeted",
        "targeted_matched",
        "target_effect",
        "collateral_effect",
    ),
    default=False,
)


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    max_tokens: Count = 16_000
    "Tokens read at most: texts are taken evenly spaced until there are as many."
    context: Annotated[int, Range(3)] = 64
    "Tokens of a text at most, special ones included (fewer where the model takes fewer)."
    blocks: Count = 16
    "Groups of texts, each with its own latents: the units of the bootstrap."
    latents: Count = 2
    "Latents of a block and seed at most (the study behind it: 240 in all)."
    positions: Count = 4
    "Positions a latent: they carry two thirds of the variance."
    soft_frozen: bool = False
    "Whether the control of soft-frozen directions is trained (minutes, once) and compared with."
    concepts: Annotated[int, Range(0)] = 8
    "Labelled concepts at most, evenly spaced among the data sets."
    concept_texts: Count = 6
    "Test texts of each class at most."
    matched: Count = 2
    "Random latents of the same firing rate and norm a concept."


class Shared(NamedTuple):
    """What all SAEs of a site share."""

    blocks: Blocks
    floor: float
    "Divergence that rounding makes, in nats."
    soft_frozen: dict[tuple[int, int], Tensor]
    "(seed, block) -> median effects of the soft-frozen control's latents."
    concepts: Concepts | None


def prepare(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> Shared:
    """Texts with the model's states, blocks, the trained control if asked for, and labelled texts."""
    if not ctx.lm.is_causal:
        raise NotApplicable(f"{ctx.lm.name} is an encoder and predicts no next tokens")
    if not ctx.data.texts:
        raise NotApplicable(f"data source {ctx.data.name!r} has no texts")
    chosen = [text for text, _ in sampled(ctx, cfg.max_tokens, cfg.context)]
    table = text_table(ctx, chosen, cfg.context)
    bounds = np.unique(np.linspace(0, len(chosen), min(cfg.blocks, len(chosen)) + 1).round().astype(int)).tolist()
    blocks = Blocks(table, bounds)
    shared = Shared(
        blocks, rounding(ctx, table), {}, concepts_of(ctx, cfg.concepts, cfg.concept_texts, cfg.context, seeds)
    )
    if shared.floor > ROUNDING:
        ctx.note(f"rounding alone makes divergences of {shared.floor:.2g} nats; --dtype float32 sees smaller effects")
    if cfg.soft_frozen:
        way = registered.baseline("soft_frozen_decoder").method
        assert isinstance(way, MakesSAE)
        control = way.make(ctx, MADE_FROM)
        for seed in seeds:
            of_seed = effects_of(control, ctx, blocks, cfg.latents, cfg.positions, seed)
            shared.soft_frozen.update({(seed, block): e.own for block, e in of_seed.items()})
    return shared


def evaluate(subject: Subject, ctx: EvalContext, shared: Shared, cfg: Config, seeds: Sequence[int]) -> Scores:
    """The effects of one SAE.

    Args:
        subject: an SAE that writes what it reads.
        ctx: the site.
        shared: from `prepare`.
        cfg: settings of the task.
        seeds: of the repetitions.
    """
    sae, out = subject.require_autoencoder(), Scores()
    way = registered.baseline("matched_random").method
    assert isinstance(way, DerivesSAE)
    pairs: list[tuple[Tensor, Tensor]] = []
    for seed in seeds:
        random = way.derive(sae, ctx, derive_seed("causal_effect", seed))
        size = (cfg.latents, cfg.positions, seed)
        own = effects_of(sae, ctx, shared.blocks, *size, random=True)
        control = effects_of(random, ctx, shared.blocks, *size)
        for block, e in own.items():
            unit = f"block {block}"
            out.add("effect", e.own.quantile(0.5).item(), unit=unit, seed=seed)
            paired = [hodges_lehmann_log2(a[None], r[None]) for a, r in zip(*e, strict=True)]
            out.add("log2_direction", float(np.median(paired)), unit=unit, seed=seed)
            if block in control:
                out.add("log2_ratio", hodges_lehmann_log2(e.own, control[block].own), unit=unit, seed=seed)
                pairs.append((e.own, control[block].own))
            if (seed, block) in shared.soft_frozen:
                ratio = hodges_lehmann_log2(e.own, shared.soft_frozen[seed, block])
                out.add("log2_soft_frozen", ratio, unit=unit, seed=seed)
    if not pairs:
        ctx.note(f"{subject.name}: no latent fires on {cfg.positions} tokens of a block; lower positions or blocks")
    else:
        pooled = (torch.cat(side) for side in zip(*pairs, strict=True))
        out.diagnostics |= {
            "ratio": round(2 ** hodges_lehmann_log2(*pooled), 4),
            "latents": sum(len(a) for a, _ in pairs),
        }
    out.diagnostics["floor"] = float(f"{shared.floor:.3g}")
    if shared.concepts is not None:
        add_targeted(out, sae, ctx, shared.concepts, cfg.matched)
    return out


def reads(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> Reading:
    """Texts and labelled texts up to the hook and clean; of each subject and seed, ablations of its latents, of random
    directions and of the control, each a text, and labelled texts without the concept's latent.

    Training of the soft-frozen control is not counted.
    """
    tokens = sampled_tokens(ctx, cfg.max_tokens, cfg.context)
    text = max((ctx.estimated_tokens(c, cfg.context) / len(c.texts) for c in ctx.data.texts), default=0.0)
    concepts = min(cfg.concepts, len(ctx.data.datasets)) * len(seeds) * 2 * cfg.concept_texts
    ablations = 3 * len(seeds) * cfg.blocks * cfg.latents * cfg.positions
    labelled = 0.0
    if concepts:
        corpus = ctx.data.datasets[0].corpus
        labelled = concepts * ctx.estimated_tokens(corpus, cfg.context) / len(corpus.texts)
    return Reading(round(2 * (tokens + labelled)), round(ablations * text + (1 + cfg.matched) * labelled))


TASK = Task(CARD, Config, prepare, evaluate, reads=reads)
