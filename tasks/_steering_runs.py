"""Steered continuations: prompts, the grid of strengths, and what each direction comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from saebench_lite.activations.pooling import pooled_acts
from saebench_lite.api.context import EvalContext
from saebench_lite.api.subject import Subject
from saebench_lite.data.splits import detection_split, without_repeats
from saebench_lite.data.types import Labelled
from saebench_lite.errors import NotApplicable
from saebench_lite.metrics.classification import auroc
from saebench_lite.metrics.steering import degenerate, output_score
from saebench_lite.models.generation import continued, likelihood
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.models.tokens import TokenBatch
from saebench_lite.probes.latent_selection import Ranked, class_differences_of_sets, merged, ranked
from saebench_lite.probes.single_latent import PREVALENCE
from saebench_lite.saes.protocol import SAE
from saebench_lite.stats.seeds import rng
from saebench_lite.tasks._steering_figures import Concept, Outcome, Prompts, Target, figures, presences, quality

ROWS = 64
"Continuations written together at most."
NEGATIVES = 4
"Negative texts for each positive one, for the classifier of continuations."
LENS = 20
"Tokens that a direction is said to raise: the largest of its logit lens."
NEUTRAL = "From my experience,"
"Prompt of the output score (Arad et al., arXiv:2505.20063)."


def datasets_of(ctx: EvalContext, most: int) -> list[Labelled]:
    """Data sets, evenly spaced, without texts that stand in several rows."""
    out, data = [], ctx.data.datasets
    for i in np.unique(np.linspace(0, len(data) - 1, min(most, len(data))).round().astype(int)):
        labelled, notes = without_repeats(data[i])
        ctx.note(*notes)
        out.append(labelled)
    return out


def concepts_of(datasets: Sequence[Labelled], prompts: Prompts, seed: int) -> list[Concept]:
    """Concepts with their training texts in two parts of the same mix; the texts that prompts begin are left out.

    Args:
        datasets: the labelled texts.
        prompts: with the rows of the first data set's corpus that they are openings of.
        seed: of the splits.
    """
    concepts, corpus = [], datasets[0].corpus.fingerprint
    for labelled in datasets:
        if labelled.corpus.fingerprint == corpus:
            free = ~np.isin(labelled.rows, prompts.rows)
            part = None if labelled.part is None else labelled.part[free]
            labelled = replace(labelled, rows=labelled.rows[free], positive=labelled.positive[free], part=part)
        split, draw = detection_split(labelled, seed), rng("steering", labelled.name, seed)
        train = np.unique(split.train)  # drawn with replacement where the data has parts
        halves: tuple[list[np.ndarray], list[np.ndarray]] = [], []
        for side in (True, False):
            rows = draw.permutation(train[labelled.positive[train] == side])
            for half, piece in zip(halves, np.array_split(rows, 2), strict=True):
                half.append(piece)
        finding, judging = (np.concatenate(half) for half in halves)
        positives = int(labelled.positive[judging].sum())
        judging = judging[: positives * (1 + NEGATIVES)]  # positives come first
        finding, judging, test = ((labelled.rows[r], labelled.positive[r]) for r in (finding, judging, split.test))
        concepts.append(Concept(labelled, finding, judging, test))
    return concepts


def prompts_of(
    lm: LanguageModel,
    datasets: Sequence[Labelled],
    count: int,
    length: int,
    written: int,
    temperature: float,
    seed: int,
) -> Prompts:
    """Openings of texts that hold none of the concepts; NotApplicable where there are too few that are long enough.

    Args:
        lm: the model.
        datasets: the concepts; texts of the first one's corpus are taken.
        count: how many prompts.
        length: their tokens, special ones in front not counted.
        written: tokens of a continuation.
        temperature: of sampling.
        seed: of the draw.
    """
    corpus = datasets[0].corpus
    own = [d for d in datasets if d.corpus.fingerprint == corpus.fingerprint]
    taken = np.concatenate([d.rows[d.positive] for d in own])
    free = np.setdiff1d(np.concatenate([d.rows for d in own]), taken)
    special, out = set(lm.special.tolist()), dict[int, list[int]]()
    for row in rng("steering prompts", seed).permutation(free).tolist():
        ids = lm.tokenize([corpus.texts[row]], context=None, long_texts="cut_right")[0]
        front = next((i for i, token in enumerate(ids) if token not in special), len(ids))
        opening = ids[: front + length]
        if len(opening) == front + length and not special & set(opening[front:]):
            out[row] = opening
        if len(out) == count:
            break
    if len(out) < count:
        raise NotApplicable(
            f"the corpus of dataset {datasets[0].name!r} has {len(out)} texts of {length} tokens without any of the"
            f" concepts, not the {count} asked for; lower prompts, prompt_tokens or concepts"
        )
    uniform = np.stack([rng("steering chance", seed, i).random(written) for i in range(count)])
    ids = torch.tensor(list(out.values()))
    return Prompts(ids, torch.from_numpy(uniform), np.array(list(out)), count // 2, temperature)


def steered(ctx: EvalContext, lm: LanguageModel, prompts: Prompts, directions: Tensor, sizes: Tensor) -> list[Outcome]:
    """The outcome of each direction.

    Args:
        ctx: the site.
        lm: its model.
        prompts: what is continued.
        directions: of norm 1. [k, d]
        sizes: norms at which they are added. [s]
    """
    directions = directions.cpu()
    k, s, p = len(directions), len(sizes), len(prompts.ids)
    direction, strength, prompt = (i.flatten() for i in torch.meshgrid(*map(torch.arange, (k, s, p)), indexing="ij"))
    ids, nll = [], []
    tables = 12 * lm.vocabulary * (prompts.ids.shape[1] + prompts.uniform.shape[1])  # bytes of logits a continuation
    for part in torch.arange(k * s * p).split(max(1, min(ROWS, ctx.memory // tables))):
        added = directions[direction[part]] * sizes[strength[part], None]
        opening = prompts.ids[prompt[part]]
        new = continued(lm, opening, ctx.hook, added, prompts.uniform[prompt[part]], prompts.temperature)
        ids.append(new)
        nll.append(likelihood(lm, torch.cat([opening, new], 1), opening.shape[1]))
    new, likely = torch.cat(ids).view(k, s, p, -1), torch.cat(nll).view(k, s, p)
    texts = lm.tokenizer.batch_decode(new.flatten(0, 2).tolist(), skip_special_tokens=True)
    each = s * p
    return [Outcome(texts[i * each : (i + 1) * each], likely[i], degenerate(new[i])) for i in range(k)]


def prompted(ctx: EvalContext, lm: LanguageModel, prompts: Prompts, name: str) -> Outcome:
    """The outcome of a prompt that names the concept in front of each opening, unsteered; likelihoods without it."""
    special = set(lm.special.tolist())
    words = f"A text about {name.replace('_', ' ').replace('/', ' ')}:"
    ids = lm.tokenize([words], context=None, long_texts="cut_right")[0]
    named = torch.tensor([token for i, token in enumerate(ids) if token not in special or i == 0])
    front = int(torch.isin(prompts.ids[0], lm.special).sum())
    opening = torch.cat([named.expand(len(prompts.ids), -1), prompts.ids[:, front:]], 1)
    nothing = torch.zeros(len(opening), ctx.d_in)
    new = continued(lm, opening, ctx.hook, nothing, prompts.uniform, prompts.temperature)
    nll = likelihood(lm, torch.cat([prompts.ids, new], 1), prompts.ids.shape[1])
    return Outcome(lm.tokenizer.batch_decode(new.tolist(), skip_special_tokens=True), nll[None], degenerate(new)[None])


def target_of(
    concept: Concept,
    ctx: EvalContext,
    lm: LanguageModel,
    prompts: Prompts,
    plain: Outcome,
    random: list[Outcome],
    budget: float,
) -> Target:
    """One concept with its classifier, the unsteered model, prompting and random directions.

    Args:
        concept: its texts.
        ctx: the site.
        lm: its model.
        prompts: what is continued.
        plain: unsteered continuations.
        random: those of random directions.
        budget: largest ratio of perplexities for matched presence.
    """
    n, none = prompts.chosen_on, torch.empty(0)
    target = Target(concept, plain.nll[:, n:].mean().item(), 0.0, 0.5, 0.0, none, none)
    rows, positive = concept.test
    margins, label = target.judge([concept.labelled.corpus.texts[i] for i in rows]), torch.from_numpy(positive)
    asked = prompted(ctx, lm, prompts, concept.labelled.name)
    without, named = presences(target.judge, [plain, asked])
    target = target._replace(
        unsteered=without[:, n:].mean().item(),
        auroc=auroc(margins[label], margins[~label]).item(),
        prompting=quality(named, asked, target.reference)[:, n:].mean().item(),
    )
    null = [
        figures(present, outcome, target, n, budget)
        for present, outcome in zip(presences(target.judge, random), random, strict=True)
    ]
    return target._replace(
        random=torch.tensor([f.quality for f in null]), random_matched=torch.tensor([f.matched for f in null])
    )


@torch.no_grad()
def best_detectors(ctx: EvalContext, sae: SAE, concepts: Sequence[Concept], most: int) -> list[Tensor]:
    """The latents that detect each concept best, best first: largest standardised difference of class means. [most]"""
    best: list[Ranked | None] = [None] * len(concepts)
    corpora = {c.labelled.corpus.fingerprint: c.labelled.corpus for c in concepts}
    for fingerprint, corpus in corpora.items():
        own = [i for i, c in enumerate(concepts) if c.labelled.corpus.fingerprint == fingerprint]
        sets = [(torch.as_tensor(rows), torch.as_tensor(labels)) for rows, labels in (concepts[i].finding for i in own)]
        for block, tables in ctx.pooled(sae, corpus, ("max",)).blocks():
            for i, score in zip(own, class_differences_of_sets(tables["max"], sets, PREVALENCE), strict=True):
                best[i] = merged(best[i], ranked(score, block.start, most), most)
    return [one.latent for one in best if one is not None]


@torch.no_grad()
def output_scores(ctx: EvalContext, lm: LanguageModel, directions: Tensor, size: float) -> Tensor:
    """Output score of directions [k, d] of norm 1, added with a size to every token of the neutral prompt. [k]"""
    ids = torch.tensor(lm.tokenize([NEUTRAL], context=None, long_texts="cut_right"), device=lm.device)
    out = []
    for part in directions.to(lm.device, lm.dtype).split(ROWS):
        on = torch.ones(len(part), ids.shape[1], dtype=torch.bool, device=lm.device)
        batch = TokenBatch(ids.expand(len(part), -1), on, on)
        prefix = lm.prefix(batch, ctx.hook)
        real = ~torch.isin(ids, lm.special.to(ids.device))[..., None]
        logits = lm.logits_with(batch, prefix, prefix.acts + size * part[:, None] * real, ctx.hook)[:, -1]
        one = TokenBatch(ids[:, :1].expand(len(part), -1), on[:, :1], on[:, :1])
        lens = lm.logits_from_final(one, part[:, None])[:, 0].topk(min(LENS, lm.vocabulary)).indices
        out.append(output_score(logits.float().softmax(-1), lens).cpu())
    return torch.cat(out)


def directions_of(
    subject: Subject, ctx: EvalContext, lm: LanguageModel, concepts: Sequence[Concept], size: float, candidates: int
) -> tuple[Tensor, list[int]]:
    """Directions [concepts, d] of norm 1, and the latents they belong to (none for a probe).

    Args:
        subject: an SAE that shows its decoder, or a probe.
        ctx: the site.
        lm: its model.
        concepts: what the directions stand for.
        size: norm at which output scores are measured.
        candidates: best detectors of which the one with the largest output score is taken; 1: the best detector.
    """
    if subject.probe is not None:
        rows = []
        for concept in concepts:
            texts, label = concept.finding
            x = pooled_acts(ctx.acts(concept.labelled.corpus).take(texts), "mean", ctx.device)
            y = torch.from_numpy(label).to(x.device)[None]
            rows.append(subject.probe(x, y, torch.ones_like(y)).weight[0].float().cpu())
        return _unit(torch.stack(rows)), []
    decoder, sae = _unit(subject.require_decoder().float().cpu()), subject.require_sae()
    latents = []
    for best in best_detectors(ctx, sae, concepts, candidates):
        best = best.cpu()
        place = output_scores(ctx, lm, decoder[best], size).argmax() if len(best) > 1 else 0
        latents.append(int(best[place]))
    return decoder[latents], latents


def _unit(rows: Tensor) -> Tensor:
    """Rows [k, d] of norm 1; zero rows stay zero."""
    return rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)
