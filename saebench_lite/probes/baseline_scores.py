"""How a baseline of any form is taught on some texts and judges others, and how any method validates itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from saebench_lite.activations.acts import Acts, TokenChoice
from saebench_lite.activations.pooling import Pooling, pool_chunk, pooled_acts
from saebench_lite.api.context import EvalContext
from saebench_lite.api.probe_types import Direction, ProbeFit, TrainingSet, each, fit_sets
from saebench_lite.api.subject import ClassifierSubject, ProbeSubject, Subject, TokenClassifierSubject
from saebench_lite.data.types import Corpus
from saebench_lite.errors import SaebenchError
from saebench_lite.metrics.classification import auroc
from saebench_lite.probes.logistic import scores
from saebench_lite.probes.validated import folds


class Question(NamedTuple):
    """One yes/no problem; texts by row of the corpus."""

    train: Tensor
    "Training texts. [n]"
    y: Tensor
    "Their labels. [n]"
    judged: Tensor
    "Texts to judge. [m]"


TextScorer = Callable[[Sequence[Question]], list[Tensor]]
"Margins [m] of each question's judged texts, positive means yes; questions asked together cost less."


def pooling_read(subject: Subject, pooling: Pooling) -> Pooling:
    """The pooling that a subject without codes reads under `pooling`; its scores are the same where this is the same.

    Under the maximum it is the mean: a classifier of texts has no score of a token, and a linear probe's largest over
    tokens that it was not fitted on is worse than its score of the text. What reads tokens has one score for all.
    """
    return "mean" if pooling == "max" or isinstance(subject, TokenClassifierSubject) else pooling


def text_scorer(
    subject: Subject, ctx: EvalContext, corpus: Corpus, pooling: Pooling, tokens: TokenChoice = "all"
) -> TextScorer:
    """Scores of a subject without codes on texts of a corpus, by `pooling_read`; pooled activations are computed once.

    Args:
        subject: a baseline that learns from activations.
        ctx: the site.
        corpus: texts that training and judged rows index.
        pooling: how tokens become one row a text; not for token classifiers.
        tokens: which tokens are pooled.
    """
    device = ctx.device
    if isinstance(subject, TokenClassifierSubject):
        acts, learn = ctx.acts(corpus, "all"), subject.classify
        return lambda asked: [learn(acts.take(q.train), q.y.to(device), acts.take(q.judged)) for q in asked]
    if not isinstance(subject, ClassifierSubject | ProbeSubject):
        raise SaebenchError(f"subject {subject.name!r} does not learn from activations")
    table = pooled_acts(ctx.acts(corpus, tokens), pooling_read(subject, pooling), device)
    if isinstance(subject, ProbeSubject):
        return partial(_by_directions, subject.probe, table)
    classify = subject.classify
    return lambda asked: [
        classify(table[q.train.to(device)], q.y.to(device), table[q.judged.to(device)]) for q in asked
    ]


def _by_directions(probe: ProbeFit, table: Tensor, asked: Sequence[Question]) -> list[Tensor]:
    fitted = fit_sets(probe, table, [TrainingSet(q.train, q.y) for q in asked])
    judged = (table[q.judged.to(table.device)] for q in asked)
    return [scores(direction, rows)[0] for direction, rows in zip(each(fitted), judged, strict=True)]


def token_maximum(fitted: Direction, texts: Acts, device: str) -> Tensor:
    """Largest score over the tokens of each text by one linear probe. [texts]"""
    pieces = [torch.empty(0, device=device)]
    pieces += [
        pool_chunk(scores(fitted, chunk).T, owner, rows.stop - rows.start, "max")[:, 0]
        for rows, chunk, owner in texts.chunks(1 << 15, device)
    ]
    return torch.cat(pieces)


class Fold(NamedTuple):
    """Part of some rows to learn from and part to validate on."""

    fit: Tensor
    "[a] positions"
    validation: Tensor
    "[b] positions"


def validation_folds(y: Tensor) -> list[Fold]:
    """Folds of rows with labels y [n], as `probes.folds` draws them: one fifth from 128 rows up, five folds below.

    Folds that leave a class out of either part are dropped; none may be left (always so for two rows).
    """
    y = y.bool()
    usable = []
    for validation in folds(torch.ones_like(y)[None], y[None])[:, 0]:
        parts = (y[~validation], y[validation])
        if all(part.any() and not part.all() for part in parts):
            usable.append(Fold((~validation).nonzero()[:, 0], validation.nonzero()[:, 0]))
    return usable


def auroc_of(margins: Tensor, y: Tensor) -> Tensor:
    """AUROC [...] of margins [..., m] against labels y [m] bool."""
    return auroc(margins[..., y], margins[..., ~y])


def fold_masks(y: Tensor) -> Tensor:
    """The rows each validation fold learns from [folds, n] bool, for methods that train folds side by side. y [n]"""
    masks = [torch.zeros_like(y, dtype=torch.bool).index_fill(0, fold.fit, True) for fold in validation_folds(y)]
    return torch.stack(masks) if masks else y.new_zeros(0, len(y), dtype=torch.bool)


def best_of(y: Tensor, margins: Tensor) -> int:
    """`choose` from margins [folds, settings, n] on all rows, of which each fold's validation rows count. y [n]"""
    in_order = iter(margins)
    return choose(y, margins.shape[1], lambda fit, validation: next(in_order)[:, validation])


def choose(y: Tensor, settings: int, margins_of: Callable[[Tensor, Tensor], Tensor]) -> int:
    """The setting with the best mean validation AUROC; ties go to the first, and so does everything without folds.

    `margins_of(fit, validation)` -> margins [settings, b] of the validation rows when learning from the others. y [n]
    """
    total = torch.zeros(settings, dtype=torch.float64, device=y.device)
    for fold in validation_folds(y):
        total += auroc_of(margins_of(fold.fit, fold.validation), y[fold.validation].bool())
    return int((total > total.max() - 1e-9).nonzero()[0, 0])
