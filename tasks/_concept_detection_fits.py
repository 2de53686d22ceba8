"""What concept detection scores texts by: problems, latents' and baselines' scores of texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, assert_never

import torch
from torch import Tensor

from saebench_lite.activations.acts import Acts
from saebench_lite.activations.pooling import pooled_acts
from saebench_lite.api.context import EvalContext
from saebench_lite.api.probe_types import Direction, ProbeFit, TrainingSet, each, fit_sets
from saebench_lite.api.subject import ModelProbeSubject, Subject, TextSubject
from saebench_lite.data.types import Corpus, Labelled
from saebench_lite.probes.baseline_scores import token_maximum
from saebench_lite.probes.best_auroc import largest_auroc
from saebench_lite.probes.single_latent import Case

FitOn = Literal["texts", "tokens"]
"Mean activations of texts, or tokens with their text's label."


class Rows(NamedTuple):
    """Texts with the classes' own sizes."""

    train: Tensor
    train_positive: Tensor
    test: Tensor
    test_positive: Tensor

    def on(self, device: torch.device) -> Rows:
        """The same on a device."""
        return Rows(*(t.to(device) for t in self))

    def as_case(self) -> Case:
        """Training rows, then test rows."""
        positive = torch.cat([self.train_positive, self.test_positive])
        return Case(torch.cat([self.train, self.test]), positive, len(self.train))


class Problem(NamedTuple):
    """One concept under one seed; members are texts of the corpus."""

    concept: Labelled
    seed: int
    train: Tensor
    train_positive: Tensor
    test: Tensor
    test_positive: Tensor
    hard: Tensor
    "Texts that look like the concept and are not. [h], may be empty"
    rare: Rows
    "For average precision."

    def on(self, device: torch.device) -> Problem:
        """The same where the SAE is, which stays in main memory if it has no `to`."""
        balanced = Rows(self.train, self.train_positive, self.test, self.test_positive).on(device)
        return Problem(self.concept, self.seed, *balanced, self.hard.to(device), self.rare.on(device))


class TextScores(NamedTuple):
    """One score a text for the three sets of a problem."""

    train: Tensor
    test: Tensor
    hard: Tensor


class BestLatent(NamedTuple):
    """The latent with the highest training AUROC so far."""

    train_auroc: float
    latent: int
    text_scores: TextScores


def column_of(table: Tensor, latent: int, problem: Problem) -> TextScores:
    """Scores of texts by one latent of a table [texts, m]."""
    column = table[:, latent]
    return TextScores(column[problem.train], column[problem.test], column[problem.hard])


def better(
    so_far: Sequence[BestLatent | None], table: Tensor, offset: int, problems: Sequence[Problem]
) -> list[BestLatent]:
    """Of each problem the better of `so_far` and the best latent of a block, by AUROC on the training texts.

    Args:
        so_far: best latents of the blocks before; None at the first.
        table: pooled codes of the block [texts, m].
        offset: index of its first latent.
        problems: the concepts and their rows.
    """
    out = []
    found = largest_auroc(table, [(p.train, p.train_positive) for p in problems])
    for best, new, problem in zip(so_far, found, problems, strict=True):
        if best is None or new.auroc > best.train_auroc:
            best = BestLatent(new.auroc, offset + new.latent, column_of(table, new.latent, problem))
        out.append(best)
    return out


Reader = Callable[[Tensor], Tensor]
"Texts [n] -> their scores [n] by a baseline that has learnt one problem."


def fitted_readers(
    subject: Subject, acts: Acts, corpus: Corpus, sets: Sequence[TrainingSet], fit_on: FitOn, ctx: EvalContext
) -> Iterator[Reader]:
    """A reader by the subject's probe fitted on each training set of texts.

    Args:
        subject: A probe on activations, on texts, or through the model.
        acts: Tokens of the corpus.
        corpus: The texts.
        sets: Training texts with their labels.
        fit_on: What a probe on activations learns from.
        ctx: Where it runs.
    """
    if isinstance(subject, TextSubject):
        yield from (_text_reader(subject, corpus, s) for s in sets)
        return
    if isinstance(subject, ModelProbeSubject):
        directions = (subject.fit(ctx, corpus, *s) for s in sets)
    else:
        assert subject.probe is not None
        directions = _probed(subject.probe, acts, sets, fit_on, ctx.device)
    for fitted in directions:
        yield lambda texts, fitted=fitted: token_maximum(fitted, acts.take(texts.cpu()), ctx.device)


def _text_reader(subject: TextSubject, corpus: Corpus, training: TrainingSet) -> Reader:
    words = corpus.texts
    seen = [words[i] for i in training.rows.tolist()]
    return lambda texts: subject.score(seen, training.y, [words[i] for i in texts.tolist()]).to(training.y.device)


def _probed(
    probe: ProbeFit, acts: Acts, sets: Sequence[TrainingSet], fit_on: FitOn, device: str
) -> Iterable[Direction]:
    """The probe fitted on mean activations, all sets together, or on tokens, set by set."""
    match fit_on:
        case "texts":
            return each(fit_sets(probe, pooled_acts(acts, "mean", device), sets))
        case "tokens":
            return (_probed_on_tokens(probe, acts.take(s.rows.cpu()), s.y, device) for s in sets)
        case _:
            assert_never(fit_on)


def _probed_on_tokens(probe: ProbeFit, train: Acts, y: Tensor, device: str) -> Direction:
    """The probe fitted on tokens with their text's label. train: n texts, y [n]"""
    y = torch.repeat_interleave(y, train.offsets.diff().to(y.device))[None]
    return probe(train.x.to(device, torch.float32), y, torch.ones_like(y))
