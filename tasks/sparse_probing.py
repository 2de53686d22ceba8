"""Sparse probing: how much of a concept do the k latents most aligned with it carry?

For each yes/no dataset, codes are pooled per text (mean over real tokens, or the last one). On the training rows alone
latents are ranked by |mean over positives - mean over negatives|, each divided by the latent's mean absolute value
over its non-zero training entries; a logistic regression on the k first (standardised, L2, strength chosen by
validation inside the training rows) is scored on the test rows: AUROC, accuracy, F1 of the positive class.
The headline asks more of one latent: rare_f1, its F1 as a detector where one text in twenty is positive (mean of firing
as it is and of a tuned threshold; see saebench_lite.detector). Of the scores tried it follows the truth of synthetic
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

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from saebench_lite.api.card import Card
from saebench_lite.api.context import EvalContext
from saebench_lite.api.subject import Subject
from saebench_lite.api.task import Scores, Task
from saebench_lite.data.splits import Split, detection_split, distinct, split_of
from saebench_lite.data.types import Labelled
from saebench_lite.errors import NotApplicable, SaebenchError
from saebench_lite.metrics.classification import accuracy, auroc, f1
from saebench_lite.metrics.peer_formulas import weighted_f1
from saebench_lite.probes.baseline_scores import reader
from saebench_lite.probes.latent_selection import ClassStatistics, class_statistics, first_largest
from saebench_lite.probes.logistic import fit_logistic, fit_logistic_validated, scores
from saebench_lite.probes.peer_fits import fit_l1
from saebench_lite.probes.rare_detector import Case, Shortlist, detectors, rare_figures, shortlist
from saebench_lite.records.metric import Metric
from saebench_lite.saes.protocol import SAE
from saebench_lite.stats.seeds import derive_seed

KS = (1, 2, 5, 10, 20, 50)
KNOWN_KS = (1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 128, 256, 512)
POOLINGS = ("mean", "last")
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
            lower_bound=0.0,
            upper_bound=1.0,
            chance=None if kind.startswith("f1") else 0.5,
        )
        for kind, meaning in _KINDS.items()
        for k in KNOWN_KS
        for pooling in POOLINGS
    ),
    accepts=("sae", "probe", "classifier"),
)


@dataclass(frozen=True, kw_only=True)
class Config:
    ks: tuple[int, ...] = KS
    "How many latents the probe may see."
    poolings: tuple[Literal["mean", "last"], ...] = POOLINGS
    "How token codes become one row per text."
    selection: Literal["normalised", "raw"] = "normalised"
    "Whether the difference of means is divided by the latent's mean non-zero magnitude before ranking."
    max_train: int = 1024
    "Training rows per dataset at most."
    dedupe: bool = True
    "Drop repeated texts before splitting."
    probe: Literal["l2_validated", "l2", "l1"] = "l2_validated"
    "Ours; SAEBench's (C = 1, columns as they are); or sae-probes' (saga, C by AUROC, columns as they are)."
    redraw: bool = False
    "New negatives and test rows for every k, as SAEBench draws them."
    max_test: int | None = None
    "Test rows per dataset at most, where the data has a test part."
    context: int | None = None
    "Tokens of a text at most, where that is less than the data says."

    def __post_init__(self) -> None:
        if not set(self.ks) <= set(KNOWN_KS) or not self.ks:
            raise SaebenchError(f"sparse_probing ks={self.ks}: choose from {KNOWN_KS}")
        if not set(self.poolings) <= set(POOLINGS) or not self.poolings:
            raise SaebenchError(f"sparse_probing poolings={self.poolings}: choose from {POOLINGS}")


def ranking(rows: Tensor, positive: Tensor, selection: str) -> Tensor:
    """Score of each latent [m], higher first. rows [n, m] pooled codes of the training rows; positive [n] bool."""
    return ranking_of(class_statistics(rows, torch.arange(len(rows)), positive), selection)


def ranking_of(sums: ClassStatistics, selection: str) -> Tensor:
    """The same from sums in float64, rounded to float32: latents that tie do so in any block."""
    difference = (sums.mean[0] - sums.mean[1]).abs()
    if selection == "raw":
        return difference.float()
    magnitude = sums.absolute / sums.fired.clamp(min=1e-30)
    return torch.where(magnitude > 0, difference / magnitude.clamp(min=1e-30), 0.0).float()


class Problem(NamedTuple):
    """One dataset under one seed; rows are texts of the corpus."""

    dataset: str
    seed: int
    rows: Tensor
    "Training rows, then test rows. [n]"
    positive: Tensor
    "[n] bool"
    n_train: int
    only_k: int | None = None
    "The one k this problem is for; None: all."


class Best(NamedTuple):
    """The best latents of one problem so far, best first."""

    score: Tensor
    "[k]"
    latent: Tensor
    "[k]"
    columns: Tensor
    "Their pooled codes on the problem's rows. [n, k]"


def keep_best(
    best: Best | None,
    table: Tensor,
    offset: int,
    problem: Problem,
    k: int,
    selection: str,
) -> Best:
    """Merges a block of latents (table [texts, m], first latent `offset`) into the best k so far."""
    score = ranking_of(
        class_statistics(table, problem.rows[: problem.n_train], problem.positive[: problem.n_train]), selection
    )
    top = first_largest(score, k)
    new = Best(score[top], top + offset, table[problem.rows[:, None], top])
    if best is None:
        return new
    both = Best(*(torch.cat(pair, -1) for pair in zip(best, new, strict=True)))
    order = both.score.argsort(descending=True, stable=True)[:k]
    return Best(both.score[order], both.latent[order], both.columns[:, order])


def test_figures(margin: Tensor, positive: Tensor) -> dict[str, float]:
    """AUROC, accuracy and F1 of test margins [n] (positive: yes) against labels [n] bool."""
    return {
        "auroc": auroc(margin[positive], margin[~positive]).item(),
        "accuracy": accuracy(margin, positive).item(),
        "f1": f1(margin, positive).item(),
    }


class Group(NamedTuple):
    """What is asked of one dataset."""

    labelled: Labelled
    probing: list[Problem]
    "Balanced classes, for probes: one a seed (and k, where each has its own draw)."
    detection: list[Problem]
    "The classes' own sizes, for one latent as a detector: one a seed."


class Prepared(NamedTuple):
    """Problems of each corpus."""

    groups: list[Group]
    "One entry a dataset, datasets of one corpus side by side."


def prepare(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> Prepared:
    if not ctx.data.datasets:
        raise NotApplicable(f"data source {ctx.data.name!r} has no labelled datasets")
    groups, cut = [], {}
    for labelled in sorted(ctx.data.datasets, key=lambda d: d.corpus.fingerprint):
        labelled = distinct(labelled) if cfg.dedupe else labelled
        if cfg.context is not None:
            context = min(cfg.context, labelled.corpus.context or cfg.context)
            corpus = cut.setdefault(labelled.corpus.fingerprint, replace(labelled.corpus, context=context))
            labelled = replace(labelled, corpus=corpus)
        probing = []
        for seed, k in ((s, k) for s in seeds for k in (cfg.ks if cfg.redraw else (None,))):
            drawn = seed if k is None else derive_seed("redraw", seed, k) % 2**32
            split = split_of(labelled, drawn, cfg.max_train, cfg.max_test)
            probing.append(_problem(labelled, seed, split, k))
        detection = [_problem(labelled, seed, detection_split(labelled, seed)) for seed in seeds]
        ctx.acts(labelled.corpus, _keep(cfg))
        ctx.share(labelled.corpus, cfg.poolings, _keep(cfg))
        groups.append(Group(labelled, probing, detection))
    return Prepared(groups)


def _problem(labelled: Labelled, seed: int, split: Split, only_k: int | None = None) -> Problem:
    order = np.concatenate([split.train, split.test])
    rows, positive = torch.as_tensor(labelled.rows[order]), torch.as_tensor(labelled.positive[order])
    return Problem(labelled.name, seed, rows, positive, len(split.train), only_k)


def evaluate(subject: Subject, ctx: EvalContext, prepared: Prepared, cfg: Config, seeds: Sequence[int]) -> Scores:
    out = Scores()
    start = 0
    while start < len(prepared.groups):
        corpus = prepared.groups[start].labelled.corpus
        stop = start
        while stop < len(prepared.groups) and prepared.groups[stop].labelled.corpus is corpus:
            stop += 1
        group = prepared.groups[start:stop]
        if subject.sae is None:
            for one in group:
                _baseline_rows(subject, ctx, one, cfg, out)
        else:
            _sae_rows(subject.require_sae(), ctx, group, cfg, out)
        start = stop
    return out


def _keep(cfg: Config) -> Literal["all", "last"]:
    return "last" if cfg.poolings == ("last",) else "all"


def _sae_rows(sae: SAE, ctx: EvalContext, groups: list[Group], cfg: Config, out: Scores) -> None:
    problems = [p for g in groups for p in g.probing]
    detections = [p for g in groups for p in g.detection]
    cases = [Case(p.rows, p.positive, p.n_train) for p in detections]
    best: dict[tuple[int, str], Best] = {}
    short: dict[tuple[int, str], Shortlist] = {}
    pooled = ctx.pooled(sae, groups[0].labelled.corpus, cfg.poolings, _keep(cfg))
    for block, tables in pooled.blocks():
        for pooling in cfg.poolings:
            table = tables[pooling]
            for i, problem in enumerate(problems):
                key, moved = (i, pooling), _moved(problem, table)
                best[key] = keep_best(best.get(key), table, block.start, moved, max(cfg.ks), cfg.selection)
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
            some = [i for i, p in enumerate(problems) if p.only_k in (None, k)]
            margins = _fit_all([best[i, pooling].columns[:, :k] for i in some], [problems[i] for i in some], cfg)
            for i, margin in zip(some, margins, strict=True):
                _add(out, problems[i], margin, k, pooling, cfg)


def _moved(problem: Problem, table: Tensor) -> Problem:
    return problem._replace(rows=problem.rows.to(table.device), positive=problem.positive.to(table.device))


def _fit_all(columns: list[Tensor], problems: list[Problem], cfg: Config) -> list[Tensor]:
    """Test margins of every problem, all probes of one k fitted as a batch. columns: [n, k] each."""
    if cfg.probe != "l2_validated":
        return [peer_margin(x, p, cfg.probe) for x, p in zip(columns, problems, strict=True)]
    n, k = max(len(c) for c in columns), columns[0].shape[1]
    x = columns[0].new_zeros(len(columns), n, k)
    y, use = torch.zeros(len(columns), n, dtype=torch.bool), torch.zeros(len(columns), n, dtype=torch.bool)
    for i, (c, p) in enumerate(zip(columns, problems, strict=True)):
        x[i, : len(c)] = c
        y[i, : len(c)] = p.positive
        use[i, : p.n_train] = True
    seen = max(p.n_train for p in problems)  # training rows come first
    fitted = fit_logistic_validated(x[:, :seen], y[:, :seen].to(x.device), use[:, :seen].to(x.device))
    margin = scores(fitted, x)
    return [margin[i, p.n_train : len(p.rows)] for i, p in enumerate(problems)]


def peer_margin(x: Tensor, problem: Problem, probe: str) -> Tensor:
    """Test margins [n_test] of a probe as SAEBench ("l2") or sae-probes ("l1") fits it. x [n, k]."""
    n, y = problem.n_train, problem.positive[: problem.n_train].to(x.device)
    if probe == "l1":
        return scores(fit_l1(x[:n], y, problem.seed).direction, x[n:])[0]
    fitted = fit_logistic(x[None, :n], y[None], torch.ones_like(y)[None], torch.ones(1, device=x.device))
    return scores(fitted, x[n:])[0]


def _baseline_rows(subject: Subject, ctx: EvalContext, group: Group, cfg: Config, out: Scores) -> None:
    for pooling in cfg.poolings:
        judge = reader(subject, ctx, group.labelled.corpus, pooling, _keep(cfg))

        def margins(problem: Problem, judge=judge) -> Tensor:
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
    figures = test_figures(margin, positive)
    if cfg.probe == "l1":
        figures["f1_weighted"] = weighted_f1(margin > 0, positive)
    for kind, value in figures.items():
        out.add(f"{kind}_k{k}_{pooling}", value, unit=problem.dataset, seed=problem.seed)


TASK = Task(CARD, Config, prepare, evaluate)
