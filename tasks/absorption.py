r"""Absorption: does the latent of a general feature fall silent on words where a more special latent takes over?

Words of the vocabulary are read twice, at the word (`contexts`): after worked examples ("\\n word has the first letter:
W", ten of them, words of the same part), as published, and at the end of a short English sentence, as
words stand in texts (metrics that end in `_sentences`). A linear probe per letter (parent) is the truth. For
k = 1, 2, ... a letter's k-sparse probe uses the k latents with the largest weights in an L1-penalised probe; its main
latents grow while F1 on the test words rises by more than 0.03. For a test word that the true probe gets right, with
unit probe direction u, P = x . u, contributions p_j = f_j d_j . u and c_j = cos(u, d_j):

- full absorption: all main latents silent (|p_j| <= 0.001 P), and the latent with the largest p_j has c_j >= 0.025 and
  p_j >= 0.4 P;
- absorption fraction: M = main latents' sum of p_j, A = sum of the three largest p_j > 0 among other latents with
  c_j >= 0.1; 0 if M >= P or A < 0.4 P, 1 if else M <= 0, else z / (z + M) with z = min(A, P - M).

Both are means over the words on which the SAE carries the parent at all (M >= 0.4 P or A >= 0.4 P), and a letter's
weight is the share of its words that are; a letter carried on no word has no score. Else an SAE that fires on fewer
words would seem to absorb less.

The main latents are the parent's family. `f1_k1` low and `f1_family` high: the parent is split, and nothing is lost.
Both low: its words are absorbed (`missed_family`, the share of words that the true probe finds and the family's probe
does not, goes with the absorbed shares) or the SAE does not hold the parent (it goes alone).
`explained_variance_inputs` says how far each form of the words is from the texts that the SAE was trained on.

Figures are means over the letters that the model knows, those whose true probe reaches F1 0.6 on test words (SAEBench's
bar); a note and `parents_left_out` name the others. Any hierarchy of one-token words can take the place of letters
(`hierarchy=file.json`), and so can parents told at each text's last token, where the data brings them.

Sources: Chanin et al., arXiv:2409.14507; SAEBench, arXiv:2503.09532, 0.6.0's definition of the fraction. Where we
differ, and why:
- SAEBench asks for 20 of 26 letters; here each letter that the model knows counts, as vocabularies differ;
- a seed draws which words are for testing (SAEBench's absorption never reads its own); words and prompts are the same
  for all seeds, so that one pass of the model serves them;
- about 32 words follow the same worked examples, which the model reads once; SAEBench draws new ones for each word;
- P <= 0 cannot be divided by: such words are left out and counted;
- p_j carries the decoder's norm, so a score does not depend on how an SAE splits scale between code and decoder;
- the prompt ends at the word: a causal model cannot see what follows, and any tokenizer gives the right position;
- the true probe and the sparse ones are penalised optima instead of 50 epochs of Adam; the L1 ranking runs over each
  letter's 30 latents with the largest standardised difference of means;
- SAEBench counts words on which nothing carries the parent as not absorbed (`words="all"`), so that raised thresholds
  lower its score, and a latent as silent at 1e-8, so that 1e-6 added to every code does (`silent=0`);
- SAEBench has neither the sentences nor the family's figures.
The profile saebench-0.6 (`run --profile`) is SAEBench's choices; docs/parity.md has their effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple

import torch
from torch import Tensor

from saebench_lite.activations.pooled_codes import Pooled
from saebench_lite.api.card import Card
from saebench_lite.api.context import EvalContext
from saebench_lite.api.settings import Count, FileOrFolder, Range, Settings, Share
from saebench_lite.api.subject import Subject
from saebench_lite.api.task import Reading, Scores, Task
from saebench_lite.errors import NotApplicable
from saebench_lite.metrics.reconstruction import explained_variance
from saebench_lite.probes.logistic import scores
from saebench_lite.saes.protocol import decoder_of
from saebench_lite.tasks._absorption_families import add_families, main_latents
from saebench_lite.tasks._absorption_fits import FitMethod, PreparedWords, candidates, sparse_probes, with_truths
from saebench_lite.tasks._absorption_metrics import AFTER_EXAMPLES, IN_SENTENCES, SUFFIX
from saebench_lite.tasks._absorption_words import contribution, projected, squared_errors, words_at_once
from saebench_lite.tasks._first_letters import Form, Hierarchy, first_letters, from_file, planted, words, words_tokens

CARD = Card(
    name="absorption",
    version=5,
    description="how often a general feature's latent is silent because a more special one took its place",
    source="arXiv:2409.14507; SAEBench, arXiv:2503.09532",
    requires_words=True,
    headline=("absorption_fraction", "full_absorption"),
    beside=("f1_k1",),
    metrics=(*AFTER_EXAMPLES, *IN_SENTENCES),
    on_request=tuple(metric.name for metric in IN_SENTENCES),
)


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    hierarchy: FileOrFolder = ""
    "JSON file with a template and {parent: [words]}; empty: first letters of the model's vocabulary."
    examples: Annotated[int, Range(0)] = 10
    "Worked examples in front of the word."
    contexts: Literal["examples", "sentences", "both"] = "both"
    "Where words are read: after worked examples (as published), at the end of a sentence, or both."
    max_words: Count = 20_000
    "Words used at most, the same for every seed."
    max_rows: Count = 4_000
    "Texts used at most, drawn by seed, where the data brings its own hierarchy."
    test_share: Annotated[float, Range(0.0, 1.0, open=True)] = 0.2
    "Share of the words, about, that the probes do not see; drawn by seed."
    min_probe_f1: Share = 0.6
    "A parent counts where the model's own probe reaches this F1 on test words."
    min_share: Share = 0.0
    "Share of the parents with enough words (five in each part) that must reach it, one at least; else not applicable."
    max_k: Count = 10
    "Latents in the largest sparse probe."
    f1_jump: Share = 0.03
    "F1 a further latent must add to become a main latent."
    full_cosine: Annotated[float, Range(-1.0, 1.0)] = 0.025
    "Least cosine with the probe of the latent that fully absorbs a word."
    absorber_cosine: Annotated[float, Range(-1.0, 1.0)] = 0.1
    "Least cosine with the probe of a latent that absorbs a part of one."
    proportion: Share = 0.4
    "Share of P an absorber must carry."
    silent: Share = 0.001
    "Share of P up to which a main latent's contribution counts as none; 0: its code is below 1e-8, as in SAEBench."
    words: Literal["carried", "all"] = "carried"
    "Words that count: those on which main latents or absorbers carry `proportion` of P, or all."
    max_absorbers: Count = 3
    "Latents whose contributions count as absorbed, the largest first."
    probes: FitMethod = "optimum"
    "Ours, or SAEBench's: 50 epochs of Adam for the true probe and the ranking, sparse probes on columns as they are."
    contribution: Literal["decoder", "cosine"] = "decoder"
    "What a code is multiplied by: d_j . u, or the cosine alone, as in SAEBench."
    keep_negative: bool = False
    "Count words with P <= 0 as not absorbed instead of leaving them out."


class Absorbed(NamedTuple):
    """What becomes of each word, all [n]."""

    fraction: Tensor
    "Share of the parent's direction that absorbers carry."
    full: Tensor
    "Fully absorbed: 0 or 1."
    counts: Tensor
    "Whether the word counts. bool"


def absorbed(
    f: Tensor, contribution: Tensor, cosine: Tensor, main: Tensor, projection: Tensor, cfg: Config
) -> Absorbed:
    """Fraction and full absorption of each word, and whether it counts.

    Args:
        f: codes [n, m].
        contribution: d_j . u of each latent [m].
        cosine: between d_j and u of each latent [m].
        main: indices of the main latents [k].
        projection: P of each word, above 0 [n].
        cfg: settings of the task.
    """
    p = f * contribution  # float64 though f may be float32
    total_main, bar = p[:, main].sum(-1), cfg.proportion * projection
    top = p.argmax(-1)
    p_top = p.gather(-1, top[:, None])[:, 0]
    off = p[:, main].abs() <= cfg.silent * projection[:, None] if cfg.silent else f[:, main] < 1e-8
    full = off.all(-1) & (cosine[top] >= cfg.full_cosine) & (p_top >= bar)
    others = cosine >= cfg.absorber_cosine
    others[main] = False
    able = p[:, others.nonzero()[:, 0]].clamp(min=0.0)
    strongest = able.topk(min(cfg.max_absorbers, able.shape[1])).values.sum(-1)
    z = torch.minimum(strongest, projection - total_main)
    fraction = torch.where(total_main <= 0, 1.0, z / (z + total_main).clamp(min=1e-30))
    none = (total_main >= projection) | (strongest < bar)
    carried = (total_main >= bar) | (strongest >= bar) | full if cfg.words == "carried" else torch.ones_like(full)
    return Absorbed(torch.where(none, 0.0, fraction).clamp(0.0, 1.0), full.double(), carried)


def prepare(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> list[PreparedWords]:
    bars = {"min_f1": cfg.min_probe_f1, "min_share": cfg.min_share}
    if ctx.data.parents and not cfg.hierarchy:
        rows = {"max_rows": cfg.max_rows, "test_share": cfg.test_share}
        drawn = [[planted(ctx, p, seed, **rows) for seed in seeds] for p in ctx.data.parents]
        return [part for of in drawn for part in with_truths(ctx, of, seeds, cfg.probes, **bars)]
    hierarchy = _hierarchy(ctx, cfg)
    limits = {"max_words": cfg.max_words, "test_share": cfg.test_share, "examples": cfg.examples}
    out: list[PreparedWords] = []
    refused: list[str] = []
    for form in _forms(cfg):
        try:
            of = [words(ctx, hierarchy, seed, form, **limits) for seed in seeds]
            out += with_truths(ctx, of, seeds, cfg.probes, **bars)
        except NotApplicable as reason:
            refused.append(str(reason))
    if not out:
        raise NotApplicable("; ".join(refused))
    ctx.note(*refused)
    return out


def evaluate(
    subject: Subject, ctx: EvalContext, prepared: list[PreparedWords], cfg: Config, seeds: Sequence[int]
) -> Scores:
    """Values of every metric for one subject.

    Args:
        subject: an SAE with decoder directions.
        ctx: the site.
        prepared: words or texts of each seed, from `prepare`.
        cfg: settings of the task.
        seeds: of the repetitions.
    """
    sae, out = subject.require_autoencoder(), Scores()
    decoder = decoder_of(sae)
    if decoder is None:
        raise NotApplicable(f"{subject.name} exposes no decoder directions; give it a `decoder` of [d_sae, d_in]")
    for whole in prepared:
        part = whole.on(decoder.device).scored()
        pooled = Pooled(sae, part.acts, ("last",), ctx.memory)
        parent_latents = candidates(sae, pooled, part, cfg.probes, cfg.max_k)
        right = ((scores(part.truth, part.x) > 0) & part.y)[:, part.n_train :]
        probes = sparse_probes(parent_latents, part, right, cfg.probes, cfg.max_k, cfg.f1_jump)
        sizes = [main_latents(row, cfg.f1_jump) for row in probes.f1.tolist()]
        ordered = parent_latents.latents.gather(1, parent_latents.order)
        mains = [row[:size] for row, size in zip(ordered, sizes, strict=True)]
        _absorption(pooled, decoder, mains, right, part, cfg, out)
        add_families(probes, sizes, right.any(1), part, out)
        sse, total = squared_errors(pooled, part.n_train)
        metric = "explained_variance_inputs" + SUFFIX[part.form]
        out.add(metric, explained_variance(sse, total), unit=part.hierarchy, seed=part.seed, weight=total)
        left_out = out.diagnostics.setdefault("parents_left_out" + SUFFIX[part.form], {})
        left_out.setdefault(str(part.seed), {}).update(whole.left_out)
    return out


@torch.no_grad()
def _absorption(
    pooled: Pooled,
    decoder: Tensor,
    mains: list[Tensor],
    judged: Tensor,
    part: PreparedWords,
    cfg: Config,
    out: Scores,
) -> None:
    directions = torch.nn.functional.normalize(part.truth.weight, dim=1)
    projection = (part.x[part.n_train :] @ directions.T).mT
    owner, word = (judged & (projection > 0)).nonzero(as_tuple=True)
    along, norms = projected(decoder, directions)
    of = Absorbed(*(projection.new_zeros(3, len(owner))))
    for batch in torch.arange(len(owner), device=owner.device).split(words_at_once(pooled)):
        f = pooled.rows("last", part.n_train + word[batch])  # a row of acts is a word's one token
        for i in owner[batch].unique().tolist():
            own = owner[batch] == i
            cosine = along[i] / norms
            factor = contribution(along[i], cosine, cfg.contribution)
            amount = projection[i, word[batch][own]]
            for whole, here in zip(of, absorbed(f[own], factor, cosine, mains[i], amount, cfg), strict=True):
                whole[batch[own]] = here.to(whole.dtype)
    for i in judged.any(1).nonzero()[:, 0].tolist():
        ignored = int((judged[i] & (projection[i] <= 0)).sum()) if cfg.keep_negative else 0
        own, parent = owner == i, part.parents[i]
        if counted := of.counts[own].sum().item() + ignored:
            weight = counted / (int(own.sum()) + ignored)
            for metric, values in (("absorption_fraction", of.fraction), ("full_absorption", of.full)):
                mean = (values[own] * of.counts[own]).sum().item() / counted
                out.add(metric + SUFFIX[part.form], mean, unit=parent, seed=part.seed, weight=weight)
    left_out = {
        "words_with_negative_projection": int((judged & (projection <= 0)).sum()),
        "words_not_carried": len(owner) - int(of.counts.sum()),
    }
    for fact, n in left_out.items():
        out.diagnostics.setdefault(fact + SUFFIX[part.form], {})[str(part.seed)] = n


def _hierarchy(ctx: EvalContext, cfg: Config) -> Hierarchy:
    if ctx.lm.planted:
        raise NotApplicable(
            f"{ctx.lm.name} has no words{'' if ctx.data.parents else ', nor features that imply others'}"
        )
    return from_file(cfg.hierarchy) if cfg.hierarchy else first_letters(ctx.lm.tokenizer)


def _forms(cfg: Config) -> tuple[Form, ...]:
    return ("examples", "sentences") if cfg.contexts == "both" else (cfg.contexts,)


def reads(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> Reading:
    """The words in both forms; nothing of its own where the data brings its hierarchy."""
    if ctx.data.parents and not cfg.hierarchy:
        return Reading()
    hierarchy = _hierarchy(ctx, cfg)
    limits = {"max_words": cfg.max_words, "examples": cfg.examples}
    return Reading(sum(words_tokens(ctx, hierarchy, form, **limits) for form in _forms(cfg)))


TASK = Task(CARD, Config, prepare, evaluate, reads=reads)
