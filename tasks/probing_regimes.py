"""Probing regimes: do SAE latents help a classifier where data are scarce, imbalanced, mislabelled or shifted?

For each yes/no dataset one split is drawn, and every regime learns from a part of its training rows:
- normal: all of them;
- scarcity: nested balanced sets of 2, 4, 8, ..., 1024 rows;
- imbalance: sets of one size whose share of positives goes from 5 % to 95 %;
- noise: all of them, a share from 0 to one half of the labels flipped;
- shift: those shorter than the median of their class, judged on the longer test texts; in_domain learns from as many
  long texts and is judged on the same ones, so their difference is what the shift costs.
A metric is the mean test AUROC over a regime's levels; the levels are in the record's diagnostics. Test rows are clean,
balanced, the same for every level and subject, and never learnt from.
An SAE's classifier: codes pooled per text, the k latents with the largest absolute difference of class means on that
training set (each divided by the latent's mean non-zero magnitude there), L2 logistic regression on them (standardised,
strength chosen by validation inside the training set). A baseline learns from the model's own activations on the same
rows and has one score whatever k.
val_auroc is the AUROC of the whole method, choice of latents and settings included, on rows of the training set that it
did not learn from (a fifth from 128 rows up, five folds below, none for two rows). It serves the quiver of arrows.

Source: Kantamneni et al., arXiv:2502.16681, sections 3 and 4, and sae-probes 0.4.2. Where we differ, and why:
- one test set per split: sae-probes draws other test rows for every size and tests imbalance on imbalanced rows, which
  mixes the regime with the noise of another test set;
- training sets are nested, and so are flipped labels: levels differ by the level alone;
- their validation AUROC comes from latents chosen with the validation rows, which flatters SAEs in the quiver, and is
  the best of the settings tried; here validation rows are held out of both choices;
- their covariate shift cannot be run from the package (it looks for label files under a name they do not have), one of
  its eight files lacks half of the input and none has a counterpart for other datasets; length is a property that every
  dataset has, splits within each class and so leaves the labels' frequencies alone, and allows a reference in domain;
- duplicates are dropped before splitting, columns standardised, L2 in place of L1 (see sparse_probing).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, assert_never

import numpy as np
import torch
from torch import Tensor

from saebench_lite.activations.acts import TokenChoice
from saebench_lite.api.card import Card
from saebench_lite.api.context import EvalContext
from saebench_lite.api.settings import Distinct, Range, Settings
from saebench_lite.api.subject import Subject
from saebench_lite.api.task import Scores, Task
from saebench_lite.data import regimes
from saebench_lite.data.regimes import REGIMES, Point
from saebench_lite.data.splits import split_of, without_repeats
from saebench_lite.data.types import Corpus, Labelled
from saebench_lite.errors import NotApplicable, SaebenchError
from saebench_lite.metrics.classification import auroc
from saebench_lite.probes.baseline_scores import Question, text_scorer, validation_folds
from saebench_lite.probes.k_sparse import KSparseProbes
from saebench_lite.probes.latent_selection import Selection
from saebench_lite.records.metric import Metric

K = Literal[16, 128]
KS: tuple[K, ...] = (16, 128)

CARD = Card(
    name="probing_regimes",
    version=2,
    description="whether SAE latents help a classifier where data are scarce, imbalanced, mislabelled or shifted",
    source="arXiv:2502.16681 sections 3 and 4; sae-probes 0.4.2",
    headline=tuple(f"auroc_{regime}_k16" for regime in REGIMES[:5]),
    metrics=tuple(
        Metric(
            name=f"{kind}auroc_{regime}_k{k}",
            meaning=f"AUROC on {where} of a probe on {k} latents, {regime} regime",
            better="neither" if kind else "higher",
            construct="recovery",
            lower_bound=0.0,
            upper_bound=1.0,
            chance=0.5,
        )
        for kind, where in (("", "test texts"), ("val_", "validation rows"))
        for regime in REGIMES
        for k in KS
    ),
    accepts=("sae", "probe", "classifier"),
    default=False,
)


InnerShare = Annotated[float, Range(0.0, 1.0, open=True)]


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    ks: Annotated[tuple[K, ...], Distinct()] = KS
    "How many latents the probe may see."
    pooling: Literal["mean", "last"] = "last"
    "How token codes become one row per text."
    selection: Selection = "normalised"
    "Whether the difference of means is divided by the latent's mean non-zero magnitude before ranking."
    sizes: Annotated[tuple[Annotated[int, Range(2)], ...], Distinct()] = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
    "Training rows of the scarcity regime."
    shares: Annotated[tuple[InnerShare, ...], Distinct()] = (
        0.05,
        0.1,
        0.25,
        0.5,
        0.75,
        0.9,
        0.95,
    )
    "Shares of positives of the imbalance regime."
    flips: Annotated[tuple[Annotated[float, Range(0.0, 0.5)], ...], Distinct()] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
    "Shares of flipped labels of the noise regime."
    max_train: Annotated[int, Range(2)] = 1024
    "Training rows per dataset at most."
    dedupe: bool = True
    "Drop repeated texts before splitting."

    def __post_init__(self) -> None:
        super().__post_init__()
        if odd := [size for size in self.sizes if size % 2]:
            raise SaebenchError(f"task 'probing_regimes' setting sizes must hold even numbers; got {odd[0]}")


class Fit(NamedTuple):
    """A training set and the rows to score; rows are texts of the corpus."""

    train: Tensor
    "[n]"
    labels: Tensor
    "[n] bool"
    judged: Tensor
    "[m]"
    truth: Tensor
    "[m] bool"


class RegimeCase(NamedTuple):
    """One point of one dataset under one seed: its fit and those that validate it."""

    dataset: str
    seed: int
    point: Point
    fit: Fit
    inner: list[Fit]


class DatasetCases(NamedTuple):
    """All cases of one dataset."""

    labelled: Labelled
    cases: list[RegimeCase]


def prepare(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> list[DatasetCases]:
    if not ctx.data.datasets:
        raise NotApplicable(f"data source {ctx.data.name!r} has no labelled datasets")
    groups = []
    for labelled in sorted(ctx.data.datasets, key=lambda d: d.corpus.fingerprint):
        ctx.acts(labelled.corpus, _tokens(cfg))
        labelled, notes = without_repeats(labelled) if cfg.dedupe else (labelled, [])
        ctx.note(*notes)
        groups.append(DatasetCases(labelled, [c for seed in seeds for c in cases_of(labelled, seed, cfg)]))
    return groups


def cases_of(labelled: Labelled, seed: int, cfg: Config) -> list[RegimeCase]:
    """All regimes and levels of a dataset under a seed."""
    split, positive = split_of(labelled, seed, cfg.max_train), labelled.positive
    lengths = np.array([len(labelled.corpus.texts[row]) for row in labelled.rows])
    points = [
        *regimes.normal(split, positive),
        *regimes.scarcity(split, positive, cfg.sizes),
        *regimes.imbalance(split, positive, cfg.shares),
        *regimes.noise(split, positive, cfg.flips, seed),
        *regimes.shift(split, positive, lengths),
    ]
    rows, truth = torch.as_tensor(labelled.rows), torch.as_tensor(positive)
    cases = []
    for point in points:
        train, labels, judged = (torch.as_tensor(a) for a in (point.train, point.labels, point.judged))
        fit = Fit(rows[train], labels, rows[judged], truth[judged])
        inner = [
            Fit(fit.train[fold.fit], labels[fold.fit], fit.train[fold.validation], labels[fold.validation])
            for fold in validation_folds(labels)
        ]
        cases.append(RegimeCase(labelled.name, seed, point, fit, inner))
    return cases


def evaluate(
    subject: Subject, ctx: EvalContext, prepared: list[DatasetCases], cfg: Config, seeds: Sequence[int]
) -> Scores:
    """Values of every metric for one subject.

    Args:
        subject: an SAE or a baseline.
        ctx: the site.
        prepared: cases of each data set, from `prepare`.
        cfg: settings of the task.
        seeds: of the repetitions.
    """
    out = Scores()
    corpora: dict[str, tuple[Corpus, list[DatasetCases]]] = {}
    for group in prepared:
        corpora.setdefault(group.labelled.corpus.fingerprint, (group.labelled.corpus, []))[1].append(group)
    for corpus, groups in corpora.values():
        cases = [case for group in groups for case in group.cases]
        fits = list({_key(fit): fit for case in cases for fit in (case.fit, *case.inner)}.values())
        aurocs = _aurocs(subject, ctx, corpus, fits, cfg)
        _report(out, cases, {_key(fit): value for fit, value in zip(fits, aurocs, strict=True)}, cfg)
    return out


def _tokens(cfg: Config) -> TokenChoice:
    match cfg.pooling:
        case "last":
            return "last"
        case "mean":
            return "all"
        case _:
            assert_never(cfg.pooling)


def _key(fit: Fit) -> tuple[bytes, ...]:
    """Equal for fits that are the same: many levels of different regimes are."""
    return tuple(part.numpy().tobytes() for part in fit)


def _aurocs(subject: Subject, ctx: EvalContext, corpus: Corpus, fits: list[Fit], cfg: Config) -> list[dict[int, float]]:
    """AUROC on the judged rows of every fit, by k."""
    if subject.sae is None:
        score = text_scorer(subject, ctx, corpus, cfg.pooling, _tokens(cfg))
        margins = score([Question(f.train, f.labels, f.judged) for f in fits])
        return [dict.fromkeys(cfg.ks, _auroc(margin, f.truth)) for margin, f in zip(margins, fits, strict=True)]
    probes = KSparseProbes(subject.sae, ctx.acts(corpus, _tokens(cfg)), cfg.pooling, ctx.memory)
    chosen = probes.latents([(f.train, f.labels) for f in fits], max(cfg.ks), cfg.selection)
    aurocs: list[dict[int, float]] = [{} for _ in fits]
    for k in cfg.ks:
        margins = probes.margins([(f.train, f.labels, f.judged) for f in fits], chosen[:, :k])
        for auroc_by_k, margin, fit in zip(aurocs, margins, fits, strict=True):
            auroc_by_k[k] = _auroc(margin, fit.truth)
    return aurocs


def _auroc(margin: Tensor, truth: Tensor) -> float:
    truth = truth.to(margin.device)
    return auroc(margin[truth], margin[~truth]).item()


def _report(
    out: Scores, cases: list[RegimeCase], aurocs: dict[tuple[bytes, ...], dict[int, float]], cfg: Config
) -> None:
    """Means over levels as metrics, levels as diagnostics.

    points[regime][dataset][seed] = [level, {k: [test, val]}] each.
    """
    points = out.diagnostics.setdefault("points", {})
    grouped: dict[tuple[str, str, int], list[RegimeCase]] = {}
    for case in cases:
        grouped.setdefault((case.point.regime, case.dataset, case.seed), []).append(case)
    for (regime, dataset, seed), levels in grouped.items():
        listed = points.setdefault(regime, {}).setdefault(dataset, {}).setdefault(str(seed), [])
        test: dict[int, list[float]] = {k: [] for k in cfg.ks}
        val: dict[int, list[float]] = {k: [] for k in cfg.ks}
        for case in levels:
            both = {}
            for k in cfg.ks:
                test[k].append(aurocs[_key(case.fit)][k])
                inner = [aurocs[_key(fit)][k] for fit in case.inner]
                val[k] += [float(np.mean(inner))] if inner else []
                both[f"k{k}"] = [round(test[k][-1], 6), round(val[k][-1], 6) if inner else None]
            listed.append([case.point.level, both])
        for k in cfg.ks:
            out.add(f"auroc_{regime}_k{k}", float(np.mean(test[k])), unit=dataset, seed=seed)
            if val[k]:
                out.add(f"val_auroc_{regime}_k{k}", float(np.mean(val[k])), unit=dataset, seed=seed)


TASK = Task(CARD, Config, prepare, evaluate)
