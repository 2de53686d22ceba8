"""Unlearning: can a few latents be found whose suppression takes one domain away from the model and leaves the rest?

Questions are beginnings of sentences with four ways to go on; an answer is the likeliest of their four first tokens.
Those that the model does not know are left out and counted. Latents are chosen by texts alone: of those that fire on
less than `retain_share` of the tokens of texts to retain, the n that fire on most tokens of texts to forget. Wherever
one fires, its code is set below 0 so that what it writes has s times the mean norm of activations (s = 0: ablation);
the error of the reconstruction stays. Of the edits (n, s) the one with the best alignment on one half of the questions
is tried on the other half; the seed draws the halves.
alignment = retained (1 - remembered), each the share of the accuracy above chance that the edit leaves: on questions to
retain, and on those to forget; forgotten = 1 - remembered. alignment_random: an edit of the same norm of other latents
that fire as often on the texts to forget; gain = alignment - alignment_random. retain_kl: KL of the clean from the
edited next token at the end of questions to retain, nats.
Five harmless domains of general knowledge, written for this project, are each forgotten in turn, the others retained.
`questions` names a file of a user's own in their place, which may hold the published set of dangerous knowledge (WMDP);
none comes with the suite. Each line is a JSON object: {"set": "forget", "text": ...} or {"set": "forget", "question":
..., "choices": [four], "answer": 0 to 3}, and the same with "retain".
On a world a domain is a frequent feature with its descendants, five of them. A question is a sample with the feature
on; its options are tokens of the world's readout that are about as likely as each other without the domain, and the
right one is the likeliest with it. Dictionaries of a few hundred latents need a `retain_share` above the share of
tokens on which their mean latent fires (0.1 serves): at the default hardly any latent of a trained one may be chosen.
It does not measure whether the knowledge is gone: questions of another form, other languages and fine-tuning may bring
it back. Nor does it measure how the model writes, for a question is one token.

Source: Khoriaty et al., arXiv:2503.11127 (alignment, clamping); Farrell et al., arXiv:2410.19278 and SAEBench,
arXiv:2503.09532 (choice of latents). Where we differ, and why:
- SAEBench takes the smallest accuracy over all edits that leave 99 % of the rest, on the questions it reports; here
  alignment counts both sides, and the edit is chosen on other questions;
- clamped values are in units of what a latent writes, not of its code: the scale of codes does not matter, and all
  dictionaries push as hard. In units of codes an untrained dictionary, whose codes write little, is pushed less;
- random latents of the same firing rate stand beside every score;
- answers of a base model are ways to go on, not letters (a user's file is asked by letters, as in MMLU).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from saebench_lite.api.card import Card
from saebench_lite.api.context import EvalContext
from saebench_lite.api.settings import Count, FileOrFolder, Range, Settings, Share
from saebench_lite.api.subject import Subject
from saebench_lite.api.task import Reading, Scores, Task
from saebench_lite.data.sampling import even
from saebench_lite.data.types import Corpus
from saebench_lite.errors import NotApplicable
from saebench_lite.metrics.unlearning import alignment, remaining
from saebench_lite.records.metric import Metric
from saebench_lite.stats.seeds import rng
from saebench_lite.tasks._unlearning_edits import Answers, Piece, answers, pieces_of, tokenised
from saebench_lite.tasks._unlearning_latents import edits, firing_on, norm_units, random_edit, total
from saebench_lite.tasks._unlearning_questions import Domain, Question, bundled_domains, domain_of_file
from saebench_lite.tasks._unlearning_world import WorldQuestions
from saebench_lite.worlds.model import WorldModel

CHANCE = 0.25
LEAST = 4
"Known questions of either side below which a domain is left out."
_share = partial(Metric, construct="causal_effect", lower_bound=0.0, upper_bound=1.0)

CARD = Card(
    name="unlearning",
    version=1,
    description="can suppressing a few latents take one domain away from the model and leave the rest?",
    source="Khoriaty et al., arXiv:2503.11127; Farrell et al., arXiv:2410.19278",
    headline=("gain", "alignment", "alignment_random"),
    metrics=(
        Metric(
            name="gain",
            meaning="alignment less that of random latents of equal firing rate",
            better="higher",
            lower_bound=-1.0,
            upper_bound=1.0,
            chance=0.0,
            construct="causal_effect",
        ),
        _share(name="alignment", meaning="share retained times share forgotten", better="higher"),
        _share(name="alignment_random", meaning="the same of random latents of equal firing rate", better="neither"),
        _share(name="forgotten", meaning="accuracy above chance that is lost on the domain", better="higher"),
        _share(name="retained", meaning="accuracy above chance that is left on the others", better="higher"),
        Metric(
            name="retain_kl",
            meaning="KL of clean from edited predictions on the others",
            better="lower",
            unit="nats",
            lower_bound=0.0,
            construct="causal_effect",
        ),
    ),
    requires_next_token=True,
    default=False,
)


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    questions: FileOrFolder = ""
    "A JSON Lines file of a user's own; empty: the five domains of the suite."
    texts: Count = 60
    "Texts of each topic at most, from which latents are chosen; SAEBench reads 1,024 sequences of 1,024 tokens."
    retained: Count = 40
    "Questions to retain at most, evenly spaced over those that the model knows."
    retain_share: Share = 0.01
    "Latents that fire on this share of the tokens to retain, or on more, are not chosen."
    latents: tuple[Count, ...] = (5, 20)
    "How many are suppressed."
    strengths: tuple[Annotated[float, Range(0.0)], ...] = (0.0, 0.5, 1.0, 2.0)
    "A code is set below 0 so that the latent writes this times the mean norm of activations; 0: ablation."


class Known(NamedTuple):
    """A domain with the questions that the model knows."""

    domain: Domain[Question] | Domain[int]
    pieces: list[Piece]
    forget: int
    "How many of the questions are of the domain; they come first."
    world: WorldQuestions | None = None
    "Where the questions are those of a world."


class Outcome(NamedTuple):
    """Shares that an edit leaves."""

    retained: Tensor
    remembered: Tensor

    @property
    def score(self) -> float:
        """Their alignment."""
        return alignment(self.retained, self.remembered).item()


def prepare(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> list[Known]:
    """The domains of which the model knows something, with the model's first layers on their questions."""
    if not ctx.lm.is_causal:
        raise NotApplicable(f"{ctx.lm.name} is an encoder and predicts no next token")
    if isinstance(ctx.lm, WorldModel):
        return _on_world(ctx, ctx.lm, cfg)
    domains, asked = _asked(cfg)
    ids, options, used = tokenised(ctx.lm, asked)
    right = answers(ctx, pieces_of(ctx, ids, options)).right.tolist()
    known = {asked[u]: place for place, u in enumerate(used) if right[place]}
    ctx.note(_knowledge(ctx.lm.name, len(known), len(used), len(asked)))
    out: list[Known] = []
    for domain in domains:
        forget, retain = ([known[q] for q in listed if q in known] for listed in (domain.forget, domain.retain))
        if min(len(forget), len(retain)) < LEAST:
            ctx.note(f"unlearning of {domain.name}: left out, with {len(forget)} known questions to forget")
            continue
        places = [*forget, *(retain[i] for i in even(len(retain), cfg.retained))]
        pieces = pieces_of(ctx, [ids[place] for place in places], options[torch.tensor(places)])
        out.append(Known(domain, pieces, len(forget)))
    if not out:
        raise NotApplicable(f"{ctx.lm.name} knows fewer than {LEAST} of the questions to forget, or to retain")
    return out


def _on_world(ctx: EvalContext, model: WorldModel, cfg: Config) -> list[Known]:
    """The domains of a world; it knows all of its questions."""
    if cfg.questions:
        raise NotApplicable(f"{model.name} reads no words; leave unlearning.questions out to forget its features")
    world, out = WorldQuestions(model, cfg.texts), []
    for domain in world.domains:
        places = [*domain.forget, *(domain.retain[i] for i in even(len(domain.retain), cfg.retained))]
        out.append(Known(domain, world.pieces(ctx, places), len(domain.forget), world))
    return out


def _knowledge(model: str, known: int, used: int, asked: int) -> str:
    """A sentence on how many questions a model knows, and whether that is more than by chance.

    Args:
        model: its name.
        known: questions that it answers rightly.
        used: questions that its tokenizer allows.
        asked: questions in all.
    """
    sentence = f"unlearning: {model} knows {known} of {used} questions"
    if used < asked:
        sentence += f" ({asked - used} more have options that begin with the same token)"
    if known <= CHANCE * used + 2 * (CHANCE * (1 - CHANCE) * used) ** 0.5:
        sentence += ", no more than by chance, so that there is nothing to forget: take a larger model"
    return sentence


@torch.no_grad()
def evaluate(subject: Subject, ctx: EvalContext, domains: list[Known], cfg: Config, seeds: Sequence[int]) -> Scores:
    """The figures of one SAE.

    Args:
        subject: an SAE that shows its decoder.
        ctx: the site.
        domains: from `prepare`.
        cfg: settings of the task.
        seeds: of the repetitions.
    """
    sae, decoder, out = subject.require_autoencoder(), subject.require_decoder(), Scores()
    corpora, world = [corpus for known in domains for corpus in known.domain.corpora], domains[0].world
    sae, acts_of = (sae, ctx.acts) if world is None else (world.knowing(sae), world.acts)
    firing, units = firing_on(acts_of, sae, corpora, ctx.memory), norm_units(acts_of, sae, decoder, corpora)
    chosen: dict[str, dict[str, object]] = {}
    for known in domains:
        ctx.doing(f"{subject.name}: unlearning of {known.domain.name}")
        forget, retain = (total(firing, side) for side in (known.domain.forget_texts, known.domain.retain_texts))
        grid = edits(forget, retain, units, cfg.retain_share, cfg.latents, cfg.strengths)
        tried = [answers(ctx, known.pieces, sae, edit) for edit in grid]
        for seed in seeds:
            choose, test = halves(known, seed)
            best = max(range(len(grid)), key=lambda i: outcome(tried[i], known, choose).score)  # the first of equals
            _add(out, known, seed, tried[best], test)
            others = random_edit(grid[best], forget, units, rng("unlearning", "random", known.domain.name, seed))
            random = answers(ctx, known.pieces, sae, others)
            out.add("alignment_random", outcome(random, known, test).score, unit=known.domain.name, seed=seed)
            gain = outcome(tried[best], known, test).score - outcome(random, known, test).score
            out.add("gain", gain, unit=known.domain.name, seed=seed)
            chosen.setdefault(known.domain.name, {})[str(seed)] = {
                "latents": grid[best].latents.tolist(),
                "strength": grid[best].strength,
            }
    out.diagnostics = {"edits": chosen, "known": {k.domain.name: k.forget for k in domains}}
    return out


def halves(known: Known, seed: int) -> tuple[Tensor, Tensor]:
    """Questions on which the edit is chosen, and those on which it is tried: half of either side. [q] bool each"""
    choose = torch.zeros(sum(len(piece.places) for piece in known.pieces), dtype=torch.bool)
    for low, high in ((0, known.forget), (known.forget, len(choose))):
        order = rng("unlearning", "halves", known.domain.name, low, seed).permutation(high - low)
        choose[low + torch.from_numpy(order[: (high - low) // 2])] = True
    return choose, ~choose


def outcome(given: Answers, known: Known, use: Tensor) -> Outcome:
    """What an edit leaves of the accuracy, which was 1, on the questions `use` [q] bool of either side."""
    forget = torch.arange(len(use)) < known.forget
    one = torch.ones(())
    return Outcome(*(remaining(given.right[use & side].double().mean(), one, CHANCE) for side in (~forget, forget)))


def _add(out: Scores, known: Known, seed: int, given: Answers, test: Tensor) -> None:
    """What the chosen edit does to the other half of the questions.

    Args:
        out: gets the values.
        known: the domain.
        seed: that drew the halves.
        given: answers under the edit.
        test: questions it is tried on. [q] bool
    """
    left = outcome(given, known, test)
    values = {
        "alignment": left.score,
        "forgotten": 1 - left.remembered.item(),
        "retained": left.retained.item(),
        "retain_kl": given.kl[test & (torch.arange(len(test)) >= known.forget)].mean().item(),
    }
    for name, value in values.items():
        out.add(name, value, unit=known.domain.name, seed=seed)


def _asked(cfg: Config) -> tuple[list[Domain[Question]], list[Question]]:
    """The domains, and all their questions once."""
    domains = [domain_of_file(cfg.questions, cfg.texts)] if cfg.questions else bundled_domains(cfg.texts)
    return domains, list(dict.fromkeys(q for domain in domains for q in (*domain.forget, *domain.retain)))


def reads(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> Reading:
    """All questions and topics' texts; the questions of each domain, were all known, twice and under each edit."""
    domains, asked = _asked(cfg)
    corpora = {c.fingerprint: c for domain in domains for c in domain.corpora}.values()
    question = ctx.estimated_tokens(Corpus("questions", tuple(q.prompt for q in asked))) / len(asked)
    put = sum(len(d.forget) + min(cfg.retained, len(d.retain)) for d in domains) * question
    edits = len(set(cfg.latents)) * len(set(cfg.strengths)) + len(seeds)
    texts = sum(map(ctx.estimated_tokens, corpora))
    return Reading(round(texts + len(asked) * question + 2 * put), round(edits * put))


TASK = Task(CARD, Config, prepare, evaluate, reads=reads)
