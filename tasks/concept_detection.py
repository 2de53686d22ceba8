"""Concept detection: does one latent fire on the texts about a concept and stay silent on the others?

A text's score is the maximum over its real tokens of a token score. For an SAE that is one latent's code: of the latent
with the best AUROC on the training texts, and, where the data names a latent in advance and the user says that the SAE
is the one meant, of that latent. For a baseline it is a linear probe fitted on the training texts' mean activations and
applied to every token. The F1 threshold is chosen on the training texts. average_precision, the headline, is that of
the latent with the largest standardised difference of class means, where one text in twenty is positive (see
probes.single_latent); a probe on activations is then read from the text's mean activation, where it is stronger.
A text that stands in several rows counts once, and not at all where it carries both labels, so that none is in both
parts. Scores have a standard error over test texts (metrics.resampling), which give up to five concepts their interval;
that of F1 takes the threshold as given.

Source: AxBench (Wu et al., arXiv:2501.17148, sections 3-4; methods SAE-A, SAE, DiffMean, Probe). Where we differ:
- AxBench chooses the F1 threshold on the test set; here on the training set, so F1 is what a user would get;
- hard negatives (the concept's word in another sense) silently drop out of AxBench's AUROC; here they stay out of it on
  purpose and have a figure of their own, the share that stays below the threshold;
- scores are not rounded to three decimals before the maximum is taken;
- its probes are fitted on tokens that carry their text's label (`fit_on="tokens"` does that); on the sets it ships the
  training negatives are written by another model than the test negatives, and a penalised optimum over tokens learns
  that difference instead: fitted on texts, logistic regression is the stronger baseline.
The profile axbench (`run --profile`) is AxBench's choices; docs/parity.md has their effect.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, assert_never

import numpy as np
import torch
from torch import Tensor

from saebench_lite.activations.acts import Acts
from saebench_lite.api.card import Card
from saebench_lite.api.context import EvalContext, PoolingRequest
from saebench_lite.api.probe_types import TrainingSet
from saebench_lite.api.settings import Range, Settings
from saebench_lite.api.subject import ProbeSubject, Subject
from saebench_lite.api.task import Scores, Task
from saebench_lite.data.splits import Split, detection_split, split_of, too_small, without_repeats
from saebench_lite.data.types import Labelled
from saebench_lite.errors import NotApplicable, SaebenchError
from saebench_lite.metrics.classification import auroc, best_f1_threshold, f1
from saebench_lite.metrics.resampling import Figure, auroc_error, f1_error
from saebench_lite.probes.alike import alike
from saebench_lite.probes.baseline_scores import Question, text_scorer
from saebench_lite.probes.latent_selection import RankedColumns
from saebench_lite.probes.single_latent import (
    PREVALENCE,
    best_latents,
    rare_figures,
)
from saebench_lite.records.metric import Metric
from saebench_lite.saes.protocol import SAE, device_of
from saebench_lite.tasks._concept_detection_fits import (
    BestLatent,
    FitOn,
    Problem,
    Rows,
    TextScores,
    better,
    column_of,
    fitted_readers,
)

_share = partial(Metric, better="higher", construct="recovery", lower_bound=0.0, upper_bound=1.0)
"A metric of recovery between 0 and 1, higher is better."

CARD = Card(
    name="concept_detection",
    version=4,
    description="how well one latent tells texts about a concept from others",
    source="AxBench, arXiv:2501.17148, sections 3-4",
    headline=("average_precision",),
    beside=("auroc", "f1"),
    metrics=(
        _share(
            name="average_precision",
            meaning="average precision of one latent where one text in twenty is positive",
            chance=PREVALENCE,
        ),
        _share(name="auroc", meaning="AUROC on test texts", chance=0.5),
        _share(name="f1", meaning="F1 on test texts, threshold from training"),
        _share(name="hard_rejection", meaning="share of hard negatives below the threshold"),
        _share(name="auroc_named", meaning="AUROC of the latent the data names in advance", chance=0.5),
        _share(name="f1_named", meaning="F1 of the latent the data names"),
    ),
    accepts=("sae", "probe", "texts"),
    on_request=("hard_rejection", "auroc_named", "f1_named"),
)


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    max_train: Annotated[int, Range(2)] = 1024
    "Training texts per concept at most, half of them positive."
    named_latents: bool = False
    "Whether the latents named in the data belong to the SAEs under test."
    fit_on: FitOn = "texts"
    "What a baseline is fitted on: mean activations of texts, or tokens with their text's label."
    threshold: Literal["train", "test"] = "train"
    "Which texts the F1 threshold comes from; with test (AxBench's choice) F1 counts hard negatives as negatives."
    decimals: Annotated[int, Range(0, 15)] | None = None
    "Decimals that texts' scores are rounded to (AxBench: 3); None: none."


def judge(scores: Sequence[TextScores], problems: Sequence[Problem], cfg: Config) -> list[dict[str, Figure]]:
    """AUROC, F1 at a threshold and, where there are hard negatives, the share of them below it, of each problem.

    Problems of like sizes are judged together.
    """
    out: list[dict[str, Figure]] = [{} for _ in problems]
    labels = [(p.train_positive.cpu(), p.test_positive.cpu()) for p in problems]
    sizes = [(*map(len, of), int(test.sum())) for of, (_, test) in zip(scores, labels, strict=True)]
    for members in alike(sizes):
        stacked = TextScores(*(torch.stack([scores[i][part] for i in members]).cpu() for part in range(3)))
        train_positive, positive = (torch.stack([labels[i][part] for i in members]) for part in range(2))
        for name, (values, errors) in _figures(stacked, train_positive, positive, cfg).items():
            for i, value, error in zip(members, values.tolist(), errors, strict=True):
                out[i][name] = value, error
    return out


def _figures(
    scores: TextScores, train_positive: Tensor, positive: Tensor, cfg: Config
) -> dict[str, tuple[Tensor, Sequence[float | None]]]:
    """Values [b] and errors of each figure of b problems, as many test texts positive in each.

    Args:
        scores: of their texts, rounded here as the settings ask. [b, n] each
        train_positive: labels of the training texts. [b, n] bool
        positive: labels of the test texts. [b, n] bool
        cfg: settings of the task.
    """
    if cfg.decimals is not None:
        scores = TextScores(*(s.double().round(decimals=cfg.decimals) for s in scores))
    train, test, hard = scores
    match cfg.threshold:
        case "train":
            threshold, for_f1, truth = best_f1_threshold(train, train_positive), test, positive
        case "test":
            threshold, for_f1 = best_f1_threshold(test, positive), torch.cat([test, hard], 1)
            truth = torch.cat([positive, torch.zeros_like(hard, dtype=torch.bool)], 1)
        case _:
            assert_never(cfg.threshold)
    up, down = (test[side].view(len(test), -1) for side in (positive, ~positive))
    figures: dict[str, tuple[Tensor, Sequence[float | None]]] = {
        "auroc": (auroc(up, down), auroc_error(up, down).tolist()),
        "f1": (f1(for_f1, truth, threshold), f1_error(for_f1, truth, threshold).tolist()),
    }
    if hard.shape[1]:
        figures["hard_rejection"] = (hard <= threshold[:, None]).double().mean(1), [None] * len(hard)
    return figures


def pooling_requests(ctx: EvalContext, cfg: Config) -> Iterator[PoolingRequest]:
    """The maximum over tokens, of every concept's corpus."""
    return (PoolingRequest(concept.corpus, ("max",)) for concept in ctx.data.concepts)


def prepare(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> list[Problem]:
    if not ctx.data.concepts:
        raise NotApplicable(f"data source {ctx.data.name!r} has no concepts")
    problems, small = list[Problem](), list[str]()
    for concept in sorted(ctx.data.concepts, key=lambda c: c.corpus.fingerprint):
        ctx.acts(concept.corpus)
        concept, notes = without_repeats(concept)
        ctx.note(*notes)
        hard = concept.rows[concept.part == "hard"] if concept.part is not None else np.empty(0, dtype=np.int64)
        try:
            splits = [(split_of(concept, s, cfg.max_train), detection_split(concept, s)) for s in seeds]
        except SaebenchError as too_few:
            small.append(str(too_few))
            continue
        for seed, parts in zip(seeds, splits, strict=True):
            rows, rare = (_rows(concept, split, ctx.device) for split in parts)
            problems.append(Problem(concept, seed, *rows, torch.as_tensor(hard).to(ctx.device), rare))
    ctx.note(*too_small(small, len(ctx.data.concepts)))
    return problems


def _rows(concept: Labelled, split: Split, device: str) -> Rows:
    pieces = [a[part] for part in split for a in (concept.rows, concept.positive)]
    return Rows(*(torch.as_tensor(p).to(device) for p in pieces))


def evaluate(subject: Subject, ctx: EvalContext, prepared: list[Problem], cfg: Config, seeds: Sequence[int]) -> Scores:
    """Values of every metric for one subject.

    Args:
        subject: an SAE or a baseline.
        ctx: the site.
        prepared: one problem a concept and seed, from `prepare`.
        cfg: settings of the task.
        seeds: of the repetitions.
    """
    out = Scores()
    corpora = {p.concept.corpus.fingerprint: p.concept.corpus for p in prepared}
    for fingerprint, corpus in corpora.items():
        problems = [p for p in prepared if p.concept.corpus.fingerprint == fingerprint]
        acts = ctx.acts(corpus)
        if subject.sae is None:
            _baseline_scores(subject, acts, problems, cfg, ctx, out)
        else:
            sae = subject.require_sae()
            _sae_scores(sae, [p.on(device_of(sae)) for p in problems], cfg, ctx, out)
    return out


def _baseline_scores(
    subject: Subject, acts: Acts, problems: list[Problem], cfg: Config, ctx: EvalContext, out: Scores
) -> None:
    corpus = problems[0].concept.corpus
    readers = partial(fitted_readers, subject, acts, corpus, fit_on=cfg.fit_on, ctx=ctx)
    balanced = readers(sets=[TrainingSet(p.train, p.train_positive) for p in problems])
    rare = [p.rare for p in problems]
    if isinstance(subject, ProbeSubject):
        scorer = text_scorer(subject, ctx, corpus, "mean")
        detected = iter(scorer([Question(r.train, r.train_positive, r.test) for r in rare]))
    else:
        of_rare = readers(sets=[TrainingSet(r.train, r.train_positive) for r in rare])
        detected = (read(r.test) for read, r in zip(of_rare, rare, strict=True))
    scores = [TextScores(read(p.train), read(p.test), read(p.hard)) for p, read in zip(problems, balanced, strict=True)]
    _add(out, problems, scores, cfg)
    _add_rare(out, problems, list(detected))


def _sae_scores(sae: SAE, problems: list[Problem], cfg: Config, ctx: EvalContext, out: Scores) -> None:
    cases = [p.rare.as_case() for p in problems]
    detector: list[RankedColumns] = []
    best: Sequence[BestLatent | None] = [None] * len(problems)
    pooled = ctx.pooled(sae, problems[0].concept.corpus, ("max",))
    for block, tables in pooled.blocks():
        table = tables["max"]
        detector = best_latents(table, block.start, cases, detector)
        best = better(best, table, block.start, problems)
        for problem in problems:
            named = problem.concept.named_latent
            if cfg.named_latents and named is not None and named in block:
                (figures,) = judge([column_of(table, named - block.start, problem)], [problem], cfg)
                for metric in ("auroc", "f1"):
                    value, error = figures[metric]
                    name = f"{metric}_named"
                    out.add(name, value, unit=problem.concept.name, seed=problem.seed, error=error)
    chosen = out.diagnostics.setdefault("best_latent", {})
    detectors = out.diagnostics.setdefault("detector", {})
    scores = []
    for problem, latent, one in zip(problems, best, detector, strict=True):
        assert latent is not None
        scores.append(latent.text_scores)
        detectors.setdefault(problem.concept.name, {})[str(problem.seed)] = int(one.latent[0])
        chosen.setdefault(problem.concept.name, {})[str(problem.seed)] = {
            "latent": latent.latent,
            "train_auroc": latent.train_auroc,
        }
    _add(out, problems, scores, cfg)
    _add_rare(out, problems, [d.columns[len(p.rare.train) :, 0] for p, d in zip(problems, detector, strict=True)])


def _add(out: Scores, problems: Sequence[Problem], scores: Sequence[TextScores], cfg: Config) -> None:
    for problem, figures in zip(problems, judge(scores, problems, cfg), strict=True):
        for metric, (value, error) in figures.items():
            out.add(metric, value, unit=problem.concept.name, seed=problem.seed, error=error)


def _add_rare(out: Scores, problems: Sequence[Problem], tests: Sequence[Tensor]) -> None:
    figures = rare_figures(tests, [p.rare.test_positive for p in problems])
    for problem, (figure, error) in zip(problems, figures, strict=True):
        out.add("average_precision", figure, unit=problem.concept.name, seed=problem.seed, error=error)


TASK = Task(CARD, Config, prepare, evaluate, pooling_requests)
