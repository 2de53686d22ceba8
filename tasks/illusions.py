"""Illusions: is the latent chosen for a concept its detector, or does it only look so on its strongest texts?

The latent is that of concept detection: the largest standardised difference of class means on training texts, its
threshold the one with the best F1 there where one text in twenty is positive (probes.single_latent); a text's score is
the maximum over its tokens. On held-out texts: recall, the share of texts of the concept on which it fires; precision,
where one text in twenty is positive; precision_hard, the same with hard negatives in the place of all others: texts
that the data mark as such, or else test texts of sibling concepts (TOPIC/OTHER beside TOPIC/NAME).
family_size (splitting): the fewest of the `candidates` best latents, each firing on at most `false_alarm` of the
training negatives, of which one fires on `recall` of the training positives (metrics.illusions); one more than there
are candidates where they do not suffice. token_share: the three tokens with the largest mean code in training texts of
the concept are put, evenly spaced, in the place of others in test texts without it; the share that this reproduces of
the mean strength by which held-out texts of the concept exceed those texts. It runs the model again, so it is taken of
`injected_concepts` concepts (none unasked), evenly spaced, and one seed.

Sources: interpretability illusions, Bolukbasi et al., arXiv:2104.07143; splitting, Chanin et al., arXiv:2409.14507;
token injection, arXiv:2601.05679. Where we differ: the paper on injection grades Cohen's d of 500 neutral texts over
several ways to put tokens in; here one way, and the share of the effect on the concept's own texts, which has a scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, NamedTuple

import numpy as np
import torch
from torch import Tensor

from saebench_lite.api.card import Card
from saebench_lite.api.context import EvalContext, PoolingRequest
from saebench_lite.api.settings import Count, Range, Settings
from saebench_lite.api.subject import Subject
from saebench_lite.api.task import Reading, Scores, Task
from saebench_lite.data.splits import detection_split, without_repeats
from saebench_lite.data.types import Labelled
from saebench_lite.errors import NotApplicable
from saebench_lite.metrics.classification import best_rare_threshold
from saebench_lite.metrics.illusions import family_size, precision_at, rate_over
from saebench_lite.probes.latent_selection import RankedColumns
from saebench_lite.probes.single_latent import PREVALENCE, Case, best_latents
from saebench_lite.records.metric import Metric
from saebench_lite.saes.protocol import SAE
from saebench_lite.tasks._token_injection import token_share

_share = partial(Metric, construct="recovery", lower_bound=0.0, upper_bound=1.0)

CARD = Card(
    name="illusions",
    version=1,
    description="is the latent chosen for a concept its detector, or does it only look so?",
    source="arXiv:2104.07143, arXiv:2409.14507, arXiv:2601.05679",
    headline=("recall", "precision_hard", "family_size", "token_share"),
    metrics=(
        _share(
            name="recall", meaning="share of the concept's held-out texts on which its latent fires", better="higher"
        ),
        _share(name="precision", meaning="precision where one held-out text in twenty is positive", better="higher"),
        _share(name="precision_hard", meaning="the same where all negatives are hard ones", better="higher"),
        Metric(
            name="family_size",
            meaning="fewest latents that together fire on most texts of the concept",
            better="lower",
            construct="recovery",
            lower_bound=1.0,
        ),
        _share(name="token_share", meaning="share of its strength that three tokens reproduce", better="neither"),
    ),
    on_request=("precision_hard", "token_share"),
    default=False,
)


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    candidates: Count = 16
    "Latents from which a family is taken."
    false_alarm: Annotated[float, Range(0.0, 0.5)] = 0.01
    "Share of the training negatives on which a latent of a family may fire."
    recall: Annotated[float, Range(0.05, 1.0)] = 0.8
    "Share of the training positives that a family is to reach."
    injected_concepts: Annotated[int, Range(0)] = 0
    "Concepts of which token_share is taken, which runs the model again."
    injected_texts: Count = 16
    "Texts of each kind for token_share, at most."


class Problem(NamedTuple):
    """One concept under one seed."""

    concept: Labelled
    seed: int
    case: Case
    test: Tensor
    "Which rows of the case are test rows. [n] bool"
    hard: Tensor
    "Which rows are hard negatives. [n] bool"
    inject: bool


def pooling_requests(ctx: EvalContext, cfg: Config) -> Iterator[PoolingRequest]:
    """The maximum over tokens, of every concept's corpus."""
    return (PoolingRequest(concept.corpus, ("max",)) for concept in ctx.data.concepts)


def prepare(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> list[Problem]:
    """One problem a concept and seed, those of a corpus one after another."""
    if not ctx.data.concepts:
        raise NotApplicable(f"data source {ctx.data.name!r} has no concepts")
    concepts = sorted(ctx.data.concepts, key=lambda c: c.corpus.fingerprint)
    count = min(cfg.injected_concepts, len(concepts)) if ctx.lm.tokenizer is not None else 0
    chosen = set(np.linspace(0, len(concepts) - 1, count).round().astype(int).tolist())
    problems = []
    for number, concept in enumerate(concepts):
        known, notes = without_repeats(concept)
        ctx.note(*notes)
        for seed in seeds:
            inject = number in chosen and seed == seeds[0]
            problems.append(_problem(known, siblings(concept, concepts), seed, inject, ctx.device))
    return problems


def siblings(concept: Labelled, concepts: Sequence[Labelled]) -> np.ndarray:
    """Rows of the corpus that are positive for a sibling of the concept, TOPIC/OTHER beside TOPIC/NAME."""
    stem, slash, _ = concept.name.rpartition("/")
    if not slash:
        return np.empty(0, dtype=np.int64)
    near = [c for c in concepts if c.name.startswith(f"{stem}/") and c.corpus is concept.corpus and c is not concept]
    return np.unique(np.concatenate([c.rows[c.positive] for c in near])) if near else np.empty(0, dtype=np.int64)


def _problem(concept: Labelled, near: np.ndarray, seed: int, inject: bool, device: str) -> Problem:
    """Training and test rows, and marked hard negatives behind them.

    Args:
        concept: without repeated texts.
        near: rows of sibling concepts.
        seed: of the split.
        inject: whether token_share is taken.
        device: where the rows go.
    """
    train, test = detection_split(concept, seed)
    marked = np.flatnonzero(concept.part == "hard") if concept.part is not None else np.empty(0, dtype=np.int64)
    places = np.concatenate([train, test, marked])
    rows, positive = concept.rows[places], concept.positive[places].astype(bool)
    kind = np.repeat([0, 1, 2], [len(train), len(test), len(marked)])
    hard = (kind == 2) if len(marked) else (kind == 1) & ~positive & np.isin(rows, near)
    case = Case(torch.as_tensor(rows).to(device), torch.as_tensor(positive).to(device), len(train))
    is_test, is_hard = (torch.as_tensor(m).to(device) for m in (kind == 1, hard))
    return Problem(concept, seed, case, is_test, is_hard, inject)


@torch.no_grad()
def evaluate(subject: Subject, ctx: EvalContext, prepared: list[Problem], cfg: Config, seeds: Sequence[int]) -> Scores:
    """Values of every metric for one subject.

    Args:
        subject: an SAE.
        ctx: the site.
        prepared: one problem a concept and seed, from `prepare`.
        cfg: settings of the task.
        seeds: of the repetitions.
    """
    sae, out = subject.require_sae(), Scores()
    for corpus in {p.concept.corpus.fingerprint: p.concept.corpus for p in prepared}.values():
        problems = [p for p in prepared if p.concept.corpus.fingerprint == corpus.fingerprint]
        cases, best = [p.case for p in problems], list[RankedColumns]()
        for block, tables in ctx.pooled(sae, corpus, ("max",)).blocks():
            best = best_latents(tables["max"], block.start, cases, best, cfg.candidates)
        for problem, ranked in zip(problems, best, strict=True):
            _add(out, problem, ranked.columns, cfg)
            if problem.inject:
                _add_injected(out, problem, sae, int(ranked.latent[0]), ctx, cfg)
    return out


def _add(out: Scores, problem: Problem, columns: Tensor, cfg: Config) -> None:
    """Figures of one concept from the codes of its best latents on the rows of the case. columns [n, j]"""
    columns, (positive, n_train) = columns.cpu(), (problem.case.positive.cpu(), problem.case.n_train)
    _, threshold = best_rare_threshold(columns[:n_train, :1], positive[:n_train], PREVALENCE)
    first, test, hard = columns[:, 0].double(), problem.test.cpu(), problem.hard.cpu()
    groups = (first[test & positive], first[test & ~positive], first[hard])
    hit, alarm, hard_alarm = (rate_over(scores, threshold.item()) for scores in groups)
    values = {
        "recall": hit,
        "precision": precision_at(hit, alarm, PREVALENCE),
        "family_size": family_size(columns[:n_train], positive[:n_train], cfg.false_alarm, cfg.recall),
    }
    if hard.any():
        values["precision_hard"] = precision_at(hit, hard_alarm, PREVALENCE)
    for name, value in values.items():
        out.add(name, value, unit=problem.concept.name, seed=problem.seed)


def _add_injected(out: Scores, problem: Problem, sae: SAE, latent: int, ctx: EvalContext, cfg: Config) -> None:
    """Token injection for one concept.

    Args:
        out: gets the value, and the tokens among its diagnostics.
        problem: the concept.
        sae: the SAE.
        latent: chosen for it.
        ctx: the site.
        cfg: settings of the task.
    """
    texts, case, test = problem.concept.corpus.texts, problem.case, problem.test
    groups = (~test & case.positive, test & case.positive, test & ~case.positive)
    chosen = [[texts[i] for i in case.rows[group][: cfg.injected_texts].tolist()] for group in groups]
    share, tokens = token_share(ctx.lm, ctx.hook, sae, latent, *chosen)
    out.add("token_share", share, unit=problem.concept.name, seed=problem.seed)
    told = ctx.lm.tokenizer.convert_ids_to_tokens(tokens)
    out.diagnostics.setdefault("injected_tokens", {})[problem.concept.name] = [str(token) for token in told]


def reads(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> Reading:
    """Texts of token_share: the concept's twice, others as they are and with tokens put in."""
    count = min(cfg.injected_concepts, len(ctx.data.concepts)) if ctx.lm.tokenizer is not None else 0
    if not count:
        return Reading()
    text = max(ctx.estimated_tokens(c.corpus) / len(c.corpus.texts) for c in ctx.data.concepts)
    return Reading(0, round(4 * count * cfg.injected_texts * text))


TASK = Task(CARD, Config, prepare, evaluate, pooling_requests, reads=reads)
