"""Sparse probing: how much of a concept do the k latents most aligned with it carry?

For each yes/no dataset, codes are pooled per text (maximum or mean over real tokens, or the last one).
- average_precision, the headline: one latent as a detector where one text in twenty is positive. On training rows that
  keep the classes' own sizes the latent with the largest standardised difference of class means is taken (over the
  standard deviation within the classes at that share of positives), and its codes rank the test rows (see
  probes.single_latent). A training part of the data's own that is used whole is drawn with replacement, by seed. A
  score that says nothing has .05. It orders planted faults as the truth does and is still where nothing was recovered
  or lost; a leak, a change of scale or copies at raised thresholds do not lift it. Within L0 levels it follows the
  truth of synthetic worlds as well as accuracy at k = 5 does, and no worse than rare_f1, the headline before, which
  besides runs against L0 (results/audit/headline.md).
- k-sparse probes: on balanced training rows alone latents are ranked by |difference of class means| over the standard
  deviation within the classes; a logistic regression on the k first (standardised, L2, strength chosen by validation
  inside the training rows) is scored on the test rows: AUROC, accuracy, F1 of the positive class.
Every score has a standard error over test texts (metrics.resampling), from which up to five datasets get their
interval, a single one its test against controls and baselines; of more the spread between them contains it.
Baselines fit on the model's own activations, same pooling, same rows; they see all dimensions, whatever k. Under the
maximum they read the mean.

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
from typing import Annotated, Literal, get_args

from torch import Tensor

from saebench_lite.activations.acts import TokenChoice
from saebench_lite.activations.pooling import Pooling
from saebench_lite.api.card import Card
from saebench_lite.api.context import EvalContext, PoolingRequest
from saebench_lite.api.settings import Count, Distinct, Range, Settings
from saebench_lite.api.subject import Subject
from saebench_lite.api.task import Scores, Task
from saebench_lite.data.splits import too_small, without_repeats
from saebench_lite.data.types import Labelled
from saebench_lite.errors import NotApplicable, SaebenchError
from saebench_lite.probes.baseline_scores import pooling_read, text_scorer
from saebench_lite.probes.latent_selection import RankedColumns, Selection
from saebench_lite.probes.single_latent import (
    PREVALENCE,
    Case,
    best_latents,
    rare_figures,
)
from saebench_lite.records.metric import Metric
from saebench_lite.saes.protocol import SAE
from saebench_lite.tasks._sparse_probing_fits import (
    PEER_L1,
    Group,
    Probe,
    Problem,
    figures_on_test,
    fit_all,
    group_of,
    merge_block,
    question_of,
)

K = Literal[1, 2, 4, 5, 8, 10, 16, 20, 32, 50, 64, 128, 256, 512]
KS: tuple[K, ...] = (1, 2, 5, 10, 20, 50)
POOLINGS: tuple[Pooling, ...] = ("max", "mean", "last")
PROBED: tuple[Pooling, ...] = ("mean", "last")
"Poolings of the peers, with which k-sparse probes are fitted by default."
_KINDS = {
    "auroc": "AUROC",
    "accuracy": "accuracy",
    "f1": "F1 of the positive class",
    "f1_weighted": "F1 of both classes weighted by size (L1 probes)",
}

CARD = Card(
    name="sparse_probing",
    version=4,
    description="how much of a labelled concept the k latents most aligned with it carry",
    source="arXiv:2305.01610; arXiv:2503.09532 section 4; arXiv:2502.16681",
    headline=("average_precision_max", "average_precision_mean"),
    beside=("auroc_k1_mean", "accuracy_k5_mean"),
    metrics=tuple(
        Metric(
            name=f"average_precision_{pooling}",
            meaning=f"average precision of one latent where one text in twenty is positive, {pooling}-pooled",
            better="higher",
            construct="recovery",
            lower_bound=0.0,
            upper_bound=1.0,
            chance=PREVALENCE,
        )
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
        if k not in KS or kind == "f1_weighted" or pooling not in PROBED
    ),
)


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    ks: Annotated[tuple[K, ...], Distinct()] = KS
    "How many latents the probe may see."
    poolings: Annotated[tuple[Pooling, ...], Distinct()] = PROBED
    "How token codes become one row per text, for k-sparse probes."
    detector_poolings: Annotated[tuple[Pooling, ...], Distinct()] = POOLINGS
    "The same for one latent as a detector."
    selection: Selection = "standardised"
    "What a latent's difference of class means is divided by before the k first are taken."
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


def datasets_of(ctx: EvalContext, cfg: Config) -> list[Labelled]:
    """The site's datasets, those of one corpus side by side, texts cut to the context asked for."""
    cut = {}
    datasets = []
    for labelled in sorted(ctx.data.datasets, key=lambda d: d.corpus.fingerprint):
        if cfg.context is not None:
            context = min(cfg.context, labelled.corpus.context or cfg.context)
            corpus = cut.setdefault(labelled.corpus.fingerprint, replace(labelled.corpus, context=context))
            labelled = replace(labelled, corpus=corpus)
        datasets.append(labelled)
    return datasets


def pooling_requests(ctx: EvalContext, cfg: Config) -> Iterator[PoolingRequest]:
    """Poolings of every dataset's corpus."""
    return (PoolingRequest(labelled.corpus, _poolings(cfg), _tokens(cfg)) for labelled in datasets_of(ctx, cfg))


def prepare(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> list[Group]:
    if not ctx.data.datasets:
        raise NotApplicable(f"data source {ctx.data.name!r} has no labelled datasets")
    groups, small, asked = list[Group](), list[str](), datasets_of(ctx, cfg)
    for labelled in asked:
        labelled, notes = without_repeats(labelled) if cfg.dedupe else (labelled, [])
        ctx.note(*notes)
        try:
            groups.append(group_of(labelled, seeds, cfg.ks if cfg.redraw else None, cfg.max_train, cfg.max_test))
        except SaebenchError as too_few:
            small.append(str(too_few))
            continue
        ctx.acts(labelled.corpus, _tokens(cfg))
    ctx.note(*too_small(small, len(asked)))
    return groups


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
            _baseline_rows(subject, ctx, list(members), cfg, out)
        else:
            _sae_rows(subject.sae, ctx, list(members), cfg, out)
    return out


def _poolings(cfg: Config) -> tuple[Pooling, ...]:
    """All that are asked of an SAE's codes."""
    return tuple(dict.fromkeys((*cfg.poolings, *cfg.detector_poolings)))


def _tokens(cfg: Config) -> TokenChoice:
    return "last" if _poolings(cfg) == ("last",) else "all"


def _sae_rows(sae: SAE, ctx: EvalContext, groups: list[Group], cfg: Config, out: Scores) -> None:
    problems = [p for g in groups for p in g.probing]
    detections = [p for g in groups for p in g.detection]
    cases = [Case(p.rows, p.positive, p.n_train) for p in detections]
    best: dict[tuple[int, str], RankedColumns] = {}
    detector: dict[str, list[RankedColumns]] = {}
    pooled = ctx.pooled(sae, groups[0].labelled.corpus, _poolings(cfg), _tokens(cfg))
    for block, tables in pooled.blocks():
        for pooling in cfg.poolings:
            table = tables[pooling]
            for i, problem in enumerate(problems):
                key, here = (i, pooling), problem.on(table.device)
                best[key] = merge_block(best.get(key), table, block.start, here, max(cfg.ks), cfg.selection)
        for pooling in cfg.detector_poolings:
            detector[pooling] = best_latents(tables[pooling], block.start, cases, detector.get(pooling, ()))
    chosen = out.diagnostics.setdefault("best_latent", {})
    detectors = out.diagnostics.setdefault("detector", {})
    for pooling in cfg.detector_poolings:
        tests = [one.columns[p.n_train :, 0] for p, one in zip(detections, detector[pooling], strict=True)]
        _add_rare(out, detections, tests, pooling)
        for problem, one in zip(detections, detector[pooling], strict=True):
            detectors.setdefault(problem.dataset, {})[f"{pooling} {problem.seed}"] = int(one.latent[0])
    for pooling in cfg.poolings:
        for i, problem in enumerate(problems):
            if problem.only_k in (None, cfg.ks[0]):
                chosen.setdefault(problem.dataset, {})[f"{pooling} {problem.seed}"] = int(best[i, pooling].latent[0])
        for k in cfg.ks:
            asked = [i for i, p in enumerate(problems) if p.only_k in (None, k)]
            margins = fit_all([best[i, pooling].columns[:, :k] for i in asked], [problems[i] for i in asked], cfg.probe)
            _add(out, [problems[i] for i in asked], margins, [(k,)] * len(asked), pooling, cfg)


def _baseline_rows(subject: Subject, ctx: EvalContext, groups: list[Group], cfg: Config, out: Scores) -> None:
    problems = [p for g in groups for p in g.probing]
    detections = [p for g in groups for p in g.detection]
    rare: dict[Pooling, list[Tensor]] = {}
    for pooling in _poolings(cfg):
        read = pooling_read(subject, pooling)
        judge = text_scorer(subject, ctx, groups[0].labelled.corpus, read, _tokens(cfg))
        if pooling in cfg.detector_poolings:
            if read not in rare:
                rare[read] = judge([question_of(p) for p in detections])
            _add_rare(out, detections, rare[read], pooling)
        if pooling in cfg.poolings:
            ks = [cfg.ks if p.only_k is None else (p.only_k,) for p in problems]
            _add(out, problems, judge([question_of(p) for p in problems]), ks, pooling, cfg)


def _add_rare(out: Scores, problems: list[Problem], tests: list[Tensor], pooling: Pooling) -> None:
    """The average precision of scores of each problem's test rows."""
    figures = rare_figures(tests, [p.positive[p.n_train :] for p in problems])
    for problem, (figure, error) in zip(problems, figures, strict=True):
        out.add(f"average_precision_{pooling}", figure, unit=problem.dataset, seed=problem.seed, error=error)


def _add(
    out: Scores, problems: list[Problem], margins: list[Tensor], ks: Sequence[Sequence[int]], pooling: str, cfg: Config
) -> None:
    """The figures of probes' test margins, with their standard errors over test texts.

    Args:
        out: takes them.
        problems: one a probe.
        margins: of their test rows.
        ks: the k's that a probe's figures count for.
        pooling: what the probes read.
        cfg: settings of the task.
    """
    for problem, figures, counts in zip(problems, figures_on_test(margins, problems, cfg.probe), ks, strict=True):
        for kind, (value, error) in figures.items():
            for k in counts:
                out.add(f"{kind}_k{k}_{pooling}", value, unit=problem.dataset, seed=problem.seed, error=error)


TASK = Task(CARD, Config, prepare, evaluate, pooling_requests, lambda c: [PEER_L1] if c.probe == "l1" else [])
