"""Sparse probing: how much of a concept do the k latents most aligned with it carry?

For each yes/no dataset, codes are pooled per text (mean over real tokens, or the last one). On the training rows alone
latents are ranked by |mean over positives - mean over negatives|, each divided by the latent's mean absolute value
over its non-zero training entries; a logistic regression on the k first (standardised, L2, strength chosen by
validation inside the training rows) is scored on the test rows: AUROC, accuracy, F1 of the positive class.
The headline asks more of one latent: rare_f1, its F1 as a detector where one text in twenty is positive (mean of firing
as it is and of a tuned threshold; see probes.rare_detector). Of the scores tried it follows the truth of synthetic
worlds best; AUROC at k = 1 prefers SAEs whose latents fire for everything (results/audit).
Baselines fit on the model's own activations, same pooling, same rows; they see all dimensions, whatever k.

Sources: Gurnee et al., arXiv:2305.01610 (k-sparse probing); SAEBench, arXiv:2503.09532, section 4; sae-probes,
Kantamneni et al., arXiv:2502.16681 (datasets, split, normalised ranking). Where we differ, and why:
- columns are standardised before the penalty, so a score does not depend on the scale an SAE happens to use;
- SAEBench draws new negatives for every k and picks its full probe's epoch on the test set: here one split serves all
  k, subjects and baselines, and test rows are read once;
- duplicate texts are dropped before splitting (sae-probes has 18.6 % of test rows also in train on average), and texts
  that carry both labels too; `dedupe=False` keeps them;
- L2 instead of sae-probes' L1 by an unconverged solver: the optimum is unique and does not depend on a library version.
The profiles saebench-0.6 and sae-probes-0.4 (`run --profile`) are the peers' choices; docs/parity.md has their effect.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Annotated, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from saebench_lite.activations.acts import Keep
from saebench_lite.api.card import Card
from saebench_lite.api.context import EvalContext, PoolingRequest
from saebench_lite.api.settings import Count, Distinct, Range, Settings
from saebench_lite.api.subject import Subject
from saebench_lite.api.task import Scores, Task
from saebench_lite.data.splits import Split, detection_split, distinct, split_of
from saebench_lite.data.types import Labelled
from saebench_lite.errors import NotApplicable
from saebench_lite.probes.baseline_scores import Reader, reader
from saebench_lite.probes.latent_selection import RankedColumns, Selection
from saebench_lite.probes.rare_detector import Case, Shortlist, detectors, rare_figures, shortlist
from saebench_lite.records.metric import Metric
from saebench_lite.saes.protocol import SAE
from saebench_lite.stats.seeds import derive_seed
from saebench_lite.tasks._sparse_probing_fits import Probe, Problem, figures_on_test, fit_all, merge_block

K = Literal[1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 128, 256, 512]
KS: tuple[K, ...] = (1, 2, 5, 10, 20, 50)
TextPooling = Literal["mean", "last"]
POOLINGS: tuple[TextPooling, ...] = ("mean", "last")
_RARE = {
    "rare_f1": "F1 of one latent where one text in twenty is positive, mean of the two below",
    "rare_f1_fires": "the same of firing at all",
    "rare_f1_tuned": "the same above a threshold tuned on training texts",
}
_KINDS = {
    "auroc": "AUROC",
    "accuracy": "accuracy",
    "f1": "F1 of the positive class",
    "f1_weighted": "F1 of both classes weighted by size (L1 probes)",
}

CARD = Card(
    name="sparse_probing",
    version=3,
    description="how much of a labelled concept the k latents most aligned with it carry",
    source="arXiv:2305.01610; arXiv:2503.09532 section 4; arXiv:2502.16681",
    headline=("rare_f1_mean", "rare_f1_last", "auroc_k1_mean", "auroc_k1_last"),
    metrics=tuple(
        Metric(
            name=f"{name}_{pooling}",
            meaning=f"{meaning}, {pooling}-pooled",
            better="higher",
            construct="recovery",
            lower_bound=0.0,
            upper_bound=1.0,
        )
        for name, meaning in _RARE.items()
        for pooling in POOLINGS
    )
    + tuple(
        Metric(
            name=f"{kind}_k{k}_{pooling}",
            meaning=f"{meaning} on test texts of a probe on {k} latents, {pooling}-pooled",
            better="higher",
            construct="recovery",
            lower_bound=0.0,
            upper_bound=1.0,
            chance=None if kind.startswith("f1") else 0.5,
        )
        for kind, meaning in _KINDS.items()
        for k in get_args(K)
        for pooling in POOLINGS
    ),
    accepts=("sae", "probe", "classifier"),
    on_request=tuple(
        f"{kind}_k{k}_{pooling}"
        for kind in _KINDS
        for k in get_args(K)
        for pooling in POOLINGS
        if k not in KS or kind == "f1_weighted"
    ),
)


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    ks: Annotated[tuple[K, ...], Distinct()] = KS
    "How many latents the probe may see."
    poolings: Annotated[tuple[TextPooling, ...], Distinct()] = POOLINGS
    "How token codes become one row per text."
    selection: Selection = "normalised"
    "Whether the difference of means is divided by the latent's mean non-zero magnitude before ranking."
    max_train: Annotated[int, Range(2)] = 1024
    "Training rows per dataset at most."
    dedupe: bool = True
    "Drop repeated texts before splitting."
    probe: Probe = "l2_validated"
    "Ours; SAEBench's (C = 1, columns as they are); or sae-probes' (saga, C by AUROC, columns as they are)."
    redraw: bool = False
    "New negatives and test rows for every k, as SAEBench draws them."
    max_test: Annotated[int, Range(2)] | None = None
    "Test rows per dataset at most, where the data has a test part."
    context: Count | None = None
    "Tokens of a text at most, where that is less than the data says."


class Group(NamedTuple):
    """What is asked of one dataset."""

    labelled: Labelled
    probing: list[Problem]
    "Balanced classes, for probes: one a seed (and k, where each has its own draw)."
    detection: list[Problem]
    "The classes' own sizes, for one latent as a detector: one a seed."


def datasets_of(ctx: EvalContext, cfg: Config) -> list[Labelled]:
    """The site's datasets, those of one corpus side by side, texts cut to the context asked for."""
    cut = {}
    found = []
    for labelled in sorted(ctx.data.datasets, key=lambda d: d.corpus.fingerprint):
        if cfg.context is not None:
            context = min(cfg.context, labelled.corpus.context or cfg.context)
            corpus = cut.setdefault(labelled.corpus.fingerprint, replace(labelled.corpus, context=context))
            labelled = replace(labelled, corpus=corpus)
        found.append(labelled)
    return found


def pooling_requests(ctx: EvalContext, cfg: Config) -> Iterator[PoolingRequest]:
    """Poolings of every dataset's corpus."""
    return (PoolingRequest(labelled.corpus, cfg.poolings, _keep(cfg)) for labelled in datasets_of(ctx, cfg))


def prepare(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> list[Group]:
    if not ctx.data.datasets:
        raise NotApplicable(f"data source {ctx.data.name!r} has no labelled datasets")
    groups = []
    for labelled in datasets_of(ctx, cfg):
        labelled = distinct(labelled) if cfg.dedupe else labelled
        probing = []
        for seed, k in ((s, k) for s in seeds for k in (cfg.ks if cfg.redraw else (None,))):
            drawn = seed if k is None else derive_seed("redraw", seed, k) % 2**32
            split = split_of(labelled, drawn, cfg.max_train, cfg.max_test)
            probing.append(_problem(labelled, seed, split, k))
        detection = [_problem(labelled, seed, detection_split(labelled, seed)) for seed in seeds]
        ctx.acts(labelled.corpus, _keep(cfg))
        groups.append(Group(labelled, probing, detection))
    return groups


def _problem(labelled: Labelled, seed: int, split: Split, only_k: int | None = None) -> Problem:
    order = np.concatenate([split.train, split.test])
    rows, positive = torch.as_tensor(labelled.rows[order]), torch.as_tensor(labelled.positive[order])
    return Problem(labelled.name, seed, rows, positive, len(split.train), only_k)


def evaluate(subject: Subject, ctx: EvalContext, groups: list[Group], cfg: Config, seeds: Sequence[int]) -> Scores:
    """Values of every metric for one subject.

    Args:
        subject: an SAE or a baseline.
        ctx: the site.
        groups: problems of each data set, from `prepare`.
        cfg: settings of the task.
        seeds: of the repetitions.
    """
    out = Scores()
    for _, members in groupby(groups, key=lambda g: g.labelled.corpus.fingerprint):
        if subject.sae is None:
            for group in members:
                _baseline_rows(subject, ctx, group, cfg, out)
        else:
            _sae_rows(subject.sae, ctx, list(members), cfg, out)
    return out


def _keep(cfg: Config) -> Keep:
    return "last" if cfg.poolings == ("last",) else "all"


def _sae_rows(sae: SAE, ctx: EvalContext, groups: list[Group], cfg: Config, out: Scores) -> None:
    problems = [p for g in groups for p in g.probing]
    detections = [p for g in groups for p in g.detection]
    cases = [Case(p.rows, p.positive, p.n_train) for p in detections]
    best: dict[tuple[int, str], RankedColumns] = {}
    short: dict[tuple[int, str], Shortlist] = {}
    pooled = ctx.pooled(sae, groups[0].labelled.corpus, cfg.poolings, _keep(cfg))
    for block, tables in pooled.blocks():
        for pooling in cfg.poolings:
            table = tables[pooling]
            for i, problem in enumerate(problems):
                key, here = (i, pooling), problem.on(table.device)
                best[key] = merge_block(best.get(key), table, block.start, here, max(cfg.ks), cfg.selection)
            for i, case in enumerate(cases):
                short[i, pooling] = shortlist(table, block.start, case, short.get((i, pooling)))
    for pooling in cfg.poolings:
        found = detectors(pooled, pooling, cases, [short[i, pooling] for i in range(len(cases))])
        for problem, one in zip(detections, found, strict=True):
            _add_rare(out, problem, one.column, pooling, has_zero=True)
    chosen = out.facts.setdefault("best_latent", {})
    for pooling in cfg.poolings:
        for i, problem in enumerate(problems):
            if problem.only_k in (None, cfg.ks[0]):
                chosen.setdefault(problem.dataset, {})[f"{pooling} {problem.seed}"] = int(best[i, pooling].latent[0])
        for k in cfg.ks:
            asked = [i for i, p in enumerate(problems) if p.only_k in (None, k)]
            margins = fit_all([best[i, pooling].columns[:, :k] for i in asked], [problems[i] for i in asked], cfg.probe)
            for i, margin in zip(asked, margins, strict=True):
                _add(out, problems[i], margin, k, pooling, cfg)


def _baseline_rows(subject: Subject, ctx: EvalContext, group: Group, cfg: Config, out: Scores) -> None:
    for pooling in cfg.poolings:
        judge = reader(subject, ctx, group.labelled.corpus, pooling, _keep(cfg))

        def margins(problem: Problem, judge: Reader = judge) -> Tensor:
            return judge(problem.rows[: problem.n_train], problem.positive[: problem.n_train], problem.rows)

        for problem in group.detection:
            _add_rare(out, problem, margins(problem), pooling, has_zero=False)
        for problem in group.probing:
            margin = margins(problem)[problem.n_train :]
            for k in cfg.ks if problem.only_k is None else (problem.only_k,):
                _add(out, problem, margin, k, pooling, cfg)


def _add_rare(out: Scores, problem: Problem, column: Tensor, pooling: str, *, has_zero: bool) -> None:
    positive, n = problem.positive.to(column.device), problem.n_train
    figures = rare_figures(column[:n], positive[:n], column[n:], positive[n:], has_zero=has_zero)
    for name, value in figures.items():
        out.add(f"{name}_{pooling}", value, unit=problem.dataset, seed=problem.seed)


def _add(out: Scores, problem: Problem, margin: Tensor, k: int, pooling: str, cfg: Config) -> None:
    positive = problem.positive[problem.n_train :].to(margin.device)
    for kind, value in figures_on_test(margin, positive, cfg.probe).items():
        out.add(f"{kind}_k{k}_{pooling}", value, unit=problem.dataset, seed=problem.seed)


TASK = Task(CARD, Config, prepare, evaluate, pooling_requests)
