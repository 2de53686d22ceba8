"""What steered continuations come to: presence, fluency, quality, and the figures of one direction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from saebench_lite.api import registered
from saebench_lite.api.baseline import ReadsTexts
from saebench_lite.data.types import Labelled
from saebench_lite.metrics.steering import fluency, harmonic_mean, within_budget
from saebench_lite.stats.rank_correlation import spearman

LENS = 20
"Tokens that a direction is said to raise: the largest of its logit lens."


class Concept(NamedTuple):
    """One concept's texts, as rows of its corpus; the two parts of training texts have none in common."""

    labelled: Labelled
    finding: tuple[np.ndarray, np.ndarray]
    "Texts and labels from which directions are chosen."
    judging: tuple[np.ndarray, np.ndarray]
    "Those that the classifier of continuations learns from."
    test: tuple[np.ndarray, np.ndarray]


class Outcome(NamedTuple):
    """Continuations of all prompts at all strengths."""

    texts: list[str]
    "Strength after strength. s * p of them"
    nll: Tensor
    "Under the unsteered model, nats a token. [s, p]"
    degenerate: Tensor
    "[s, p] bool"


class Prompts(NamedTuple):
    """Openings of neutral texts, all of one length."""

    ids: Tensor
    "[p, L] long"
    uniform: Tensor
    "Random numbers of their continuations. [p, n]"
    rows: np.ndarray
    "Texts that they are openings of. [p]"
    chosen_on: int
    "The first so many choose the strength, the others are held out."
    temperature: float


class Target(NamedTuple):
    """One concept and what every direction is compared with."""

    concept: Concept
    reference: float
    "Mean negative log-likelihood of unsteered continuations on held-out prompts, nats a token."
    unsteered: float
    "Their presence."
    auroc: float
    prompting: float
    random: Tensor
    "Quality of each random direction. [r]"
    random_matched: Tensor
    "Presence of each at bounded perplexity. [r]"

    def judge(self, texts: Sequence[str]) -> Tensor:
        """Chance that each text holds the concept, both classes being as likely. [n] float64"""
        way = registered.baseline("bag_of_words").method
        assert isinstance(way, ReadsTexts)
        rows, positive = self.concept.judging
        words = self.concept.labelled.corpus.texts
        odds = way.score([words[i] for i in rows], torch.from_numpy(positive), texts).double()
        return (odds - np.log(positive.sum() / (~positive).sum())).sigmoid()


def presences(judge: Callable[[Sequence[str]], Tensor], outcomes: Sequence[Outcome]) -> Tensor:
    """Chance that each continuation holds a concept, by its classifier. [outcomes, s, p]"""
    texts = [text for outcome in outcomes for text in outcome.texts]
    return judge(texts).view(len(outcomes), *outcomes[0].nll.shape)


def quality(presence: Tensor, outcome: Outcome, reference: float) -> Tensor:
    """Harmonic mean of presence [s, p] and fluency, which is 0 for a degenerate continuation. [s, p]"""
    return harmonic_mean(presence.double(), fluencies(outcome, reference))


def fluencies(outcome: Outcome, reference: float) -> Tensor:
    """Fluency of each continuation, 0 for a degenerate one. [s, p]"""
    return fluency(outcome.nll, reference) * ~outcome.degenerate


class Figures(NamedTuple):
    """One direction for one concept, at the strength that is best on the first prompts, on the others."""

    best: int
    quality: float
    presence: float
    fluency: float
    degenerate: float
    matched: float
    "Presence at bounded perplexity; that of unsteered continuations where no strength is within the bound."
    dose_response: float


def figures(presence: Tensor, outcome: Outcome, target: Target, n: int, budget: float) -> Figures:
    """What a direction comes to.

    Args:
        presence: of its continuations. [s, p]
        outcome: these.
        target: the concept.
        n: prompts that choose the strength.
        budget: largest ratio of perplexities.
    """
    of = quality(presence, outcome, target.reference)
    best = int(of[:, :n].mean(1).argmax())
    excess = (outcome.nll - target.reference)[:, :n].mean(1)
    within = within_budget(presence[:, :n].mean(1), excess, float(np.log(budget)))
    by_strength = [target.unsteered, *presence[:, n:].mean(1).tolist()]
    return Figures(
        best=best,
        quality=of[best, n:].mean().item(),
        presence=presence[best, n:].mean().item(),
        fluency=fluencies(outcome, target.reference)[best, n:].mean().item(),
        degenerate=outcome.degenerate[best, n:].double().mean().item(),
        matched=target.unsteered if within is None else presence[within, n:].mean().item(),
        dose_response=spearman(np.arange(len(by_strength)), np.array(by_strength)),
    )
