"""Targeted against collateral effect: where do predictions change when the latent of a concept is taken away?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from saebench_lite.activations.pooling import chunk_size
from saebench_lite.api.context import EvalContext
from saebench_lite.api.task import Scores
from saebench_lite.data.splits import detection_split, without_repeats
from saebench_lite.metrics.effects import targeted_share
from saebench_lite.probes.latent_selection import RankedColumns
from saebench_lite.probes.single_latent import Case, best_latents
from saebench_lite.saes.protocol import SAE, decoder_of, device_of
from saebench_lite.stats.seeds import rng
from saebench_lite.tasks._text_table import Edits, TextTable, contributions, divergences, text_table

NEAR = 16
"Latents nearest in firing rate and written norm, of which the matched ones are drawn."


class Problem(NamedTuple):
    """One concept under one seed."""

    name: str
    seed: int
    case: Case
    "Training texts alone, as rows of the corpus."
    texts: Tensor
    "Test texts of the table, those of the concept first. [n]"
    positive: int
    "How many of them hold the concept."


class Concepts(NamedTuple):
    """Labelled texts of one corpus."""

    table: TextTable
    problems: list[Problem]


def concepts_of(ctx: EvalContext, most: int, texts: int, context: int, seeds: Sequence[int]) -> Concepts | None:
    """Concepts of the first data set's corpus with their texts; None where there are none.

    Args:
        ctx: the site.
        most: concepts, evenly spaced.
        texts: test texts of each class.
        context: tokens of a text at most.
        seeds: of the splits.
    """
    if not most or not ctx.data.datasets:
        return None
    corpus = ctx.data.datasets[0].corpus
    own = [d for d in ctx.data.datasets if d.corpus.fingerprint == corpus.fingerprint]
    own = [own[i] for i in np.unique(np.linspace(0, len(own) - 1, min(most, len(own))).round().astype(int))]
    drawn: list[tuple[str, int, Case, np.ndarray, int]] = []
    for labelled in own:
        labelled, notes = without_repeats(labelled)
        ctx.note(*notes)
        for seed in seeds:
            split = detection_split(labelled, seed)
            draw, label = rng("causal_effect texts", labelled.name, seed), labelled.positive[split.test]
            sides = [draw.permutation(labelled.rows[split.test][label == side])[:texts] for side in (True, False)]
            rows, positive = (torch.as_tensor(a[split.train]) for a in (labelled.rows, labelled.positive))
            drawn.append((labelled.name, seed, Case(rows, positive, len(rows)), np.concatenate(sides), len(sides[0])))
    needed = np.unique(np.concatenate([rows for _, _, _, rows, _ in drawn]))
    table = text_table(ctx, [corpus.texts[i] for i in needed], context)
    problems = [
        Problem(name, seed, case, torch.from_numpy(np.searchsorted(needed, rows)), positive)
        for name, seed, case, rows, positive in drawn
    ]
    return Concepts(table, problems)


@torch.no_grad()
def add_targeted(out: Scores, sae: SAE, ctx: EvalContext, concepts: Concepts, matched: int) -> None:
    """Adds targeted and collateral effects of each concept's latent and of those matched with it.

    Args:
        out: gets the values.
        sae: an SAE.
        ctx: the site.
        concepts: labelled texts.
        matched: random latents a concept.
    """
    corpus = ctx.data.datasets[0].corpus
    best: list[RankedColumns] = []
    traits: list[Tensor] = []
    decoder = decoder_of(sae)
    sizes = torch.ones(sae.d_sae) if decoder is None else decoder.float().norm(dim=1).cpu()
    for block, tables in ctx.pooled(sae, corpus, ("max",)).blocks():
        pooled = tables["max"]
        best = best_latents(pooled, block.start, [p.case for p in concepts.problems], best)
        fires = (pooled != 0).sum(0).double()
        mean = pooled.sum(0, dtype=torch.float64).abs() / fires.clamp(min=1)
        traits.append(torch.stack([fires, mean * sizes[block.start : block.stop].to(mean.device)], 1).cpu())
    trait = torch.cat(traits)
    alive = (trait > 0).all(1)
    log = trait.clamp(min=1e-12).log()
    for problem, detector in zip(concepts.problems, best, strict=True):
        latent = int(detector.latent[0])
        far = (log - log[latent]).abs().sum(1)
        far[~alive] = torch.inf
        far[latent] = torch.inf
        near = far.argsort(stable=True)[: min(NEAR, int(alive.sum()) - 1)].numpy()
        draw = rng("causal_effect matched", problem.name, problem.seed)
        others = draw.permutation(near)[:matched].tolist() if len(near) > 0 else []
        _add(out, problem, [_effect(sae, ctx, concepts.table, problem, i) for i in (latent, *others)])
        out.diagnostics.setdefault("latent", {}).setdefault(problem.name, {})[str(problem.seed)] = latent


def _add(out: Scores, problem: Problem, effects: list[tuple[float, float]]) -> None:
    """Adds the metrics of one concept from (target, collateral) of its latent and of the matched ones."""
    own, *rest = (targeted_share(*e) for e in effects)
    known = [r for r in rest if r == r]
    control = float(np.mean(known)) if known else float("nan")
    values = {"target_effect": effects[0][0], "collateral_effect": effects[0][1], "targeted": own}
    for name, value in (values | {"targeted_matched": control, "selectivity": own - control}).items():
        out.add(name, value, unit=problem.name, seed=problem.seed)


def _effect(sae: SAE, ctx: EvalContext, table: TextTable, problem: Problem, latent: int) -> tuple[float, float]:
    """Mean KL a token (texts of the concept, other texts) with the latent taken away wherever it fires, in nats."""
    device = table.batch.ids.device
    texts = problem.texts.to(device)
    real = table.batch.real[texts]
    copy, position = real.nonzero(as_tuple=True)
    x = table.prefix.acts[texts][copy, position].float()
    rows = chunk_size(sae.d_sae, device_of(sae), ctx.memory)
    taken = contributions(sae, x, torch.full((len(x),), latent), rows)
    fires = taken.norm(dim=1) > 0
    touched = torch.zeros(len(texts), dtype=torch.bool, device=device).index_fill_(0, copy[fires], True)
    compared = (real & touched[:, None]).cpu()  # where nothing is taken nothing changes
    edits = Edits(problem.texts, copy[fires].cpu(), position[fires].cpu(), taken[fires].cpu(), compared)
    kl, tokens = divergences(ctx, table, edits).sum(1), real.sum(1).double().cpu()
    sides = slice(None, problem.positive), slice(problem.positive, None)
    target, collateral = ((kl[s].sum() / tokens[s].sum().clamp(min=1)).item() for s in sides)
    return target, collateral
