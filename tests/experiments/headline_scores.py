"""Candidates for a headline of probing, computed on the same pooled codes and the same split; and the truth of an SAE.

Every candidate reads the training and test rows of one `detection_split`. Detectors train on all training rows,
k-sparse probes on as many negatives as there are positives, as in the papers they come from; all are judged on all test
rows. AUROC and average precision at a fixed prevalence do not depend on the share of positives; accuracy is the mean of
both classes'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from saebench_lite.activations.pooling import Pooling
from saebench_lite.data.splits import detection_split, distinct
from saebench_lite.data.types import Labelled
from saebench_lite.metrics.classification import (
    accuracy,
    auroc,
    best_rare_threshold,
    fires_rare_f1,
    rare_f1,
)
from saebench_lite.metrics.coalitions import coalition
from saebench_lite.probes.best_latents import Samples, best_latent_scores
from saebench_lite.probes.latent_selection import Selection, class_differences, first_largest
from saebench_lite.probes.single_latent import PREVALENCE, Case, rare_average_precision
from saebench_lite.saes.protocol import SAE, decoder_of
from saebench_lite.tasks._sparse_probing_fits import Probe, Problem, fit_all, merge_block
from saebench_lite.tasks.rival_scores import precision_of_columns, rare_f1_scores
from saebench_lite.worlds import truth
from saebench_lite.worlds.model import BLOCK, WorldModel

POOLINGS: tuple[Pooling, ...] = ("max", "mean", "last")
SHORTLIST = 24
"""Latents with the largest standardised difference, and as many with the largest F1 of firing, among which scores that
choose their own latent look for it."""
MAX_POSITIVE, MAX_NEGATIVE = 128, 640
"Rows of a class in a half of a split, at most."
PROBES: dict[Pooling, tuple[str, ...]] = {
    "max": ("average_precision_k5",),
    "mean": ("auroc_k1", "auroc_k16", "accuracy_k1", "accuracy_k2", "accuracy_k5", "average_precision_k5"),
    "last": ("auroc_k16",),
}
"k-sparse probes, by pooling."
FITS: dict[str, tuple[Selection, Probe]] = {
    "auroc": ("normalised", "l2_validated"),
    "accuracy": ("raw", "l2"),
    "average_precision": ("standardised", "l2_validated"),
}
"What latents are ranked by, and how the probe is fitted, by what it is judged by."
TOKENS = 8192
"Tokens of a world on which latents and features are compared, for the truth."
FEATURE_STEP = 2
"Of the features within reach every second one is asked for its best latent."
NEAR = 4
"Latents with the largest standardised difference among which a feature's best one is looked for."

Tables = Mapping[Pooling, Tensor]
Figures = dict[str, list[float]]
"One value a concept of each candidate."


class Rows(NamedTuple):
    """One concept: training rows, then test rows."""

    case: Case
    balanced: Problem
    "The same test rows after as many training rows of one class as of the other."


def rows_of(labelled: Labelled, seed: int) -> Rows:
    """A concept's rows under a seed."""
    labelled = distinct(labelled)
    split = detection_split(labelled, seed, MAX_POSITIVE, MAX_NEGATIVE)
    yes = labelled.positive[split.train]
    size = min(yes.sum(), (~yes).sum())
    even = np.concatenate([split.train[yes][:size], split.train[~yes][:size]])

    def joined(train: np.ndarray) -> tuple[Tensor, Tensor]:
        order = np.concatenate([train, split.test])
        return torch.as_tensor(labelled.rows[order]), torch.as_tensor(labelled.positive[order])

    return Rows(Case(*joined(split.train), len(split.train)), Problem(labelled.name, seed, *joined(even), len(even)))


def candidates(tables: Tables, concepts: Sequence[Labelled], seed: int) -> Figures:
    """Every candidate's value for each concept. tables: pooled codes [texts, d_sae]"""
    rows = [rows_of(labelled, seed) for labelled in concepts]
    out: Figures = {}
    for pooling in POOLINGS:
        for r in rows:
            for name, value in detectors(tables[pooling], r.case).items():
                out.setdefault(f"{name}_{pooling}", []).append(value)
        for name, values in probes(tables[pooling], [r.balanced for r in rows], PROBES[pooling]).items():
            out[f"{name}_{pooling}"] = values
    return out


def detectors(table: Tensor, case: Case) -> dict[str, float]:
    """Scores of single latents on test rows, each latent chosen on training rows. table [texts, d_sae]"""
    n, positive = case.n_train, case.positive
    train, test = table[case.rows[:n]], table[case.rows[n:]]
    y, judged = positive[:n], positive[n:]
    difference = class_differences(table, case.rows[:n], y, "standardised", PREVALENCE)
    short = torch.cat([first_largest(s, SHORTLIST) for s in (difference, fires_rare_f1(train, y, PREVALENCE))]).unique()

    def by(score: Tensor) -> dict[str, float]:
        best = short[int(first_largest(score, 1))]
        return of_latent(train[:, [best]], test[:, [best]], y, judged)

    out = by(difference[short])
    f1 = by(rare_f1_scores(train[:, short], y, PREVALENCE))
    out["rare_f1"] = (f1["tuned_f1"] + f1["firing_f1"]) / 2
    out["rare_ap"] = by(precision_of_columns(train[:, short], y, PREVALENCE))["average_precision"]
    out["coalition_f1"] = union_f1(train, test, y, judged)
    out["best_auroc"] = by(auroc(train[y][:, short].T, train[~y][:, short].T))["auroc"]
    return out


def of_latent(train: Tensor, test: Tensor, y: Tensor, judged: Tensor) -> dict[str, float]:
    """Scores of one latent's test codes.

    Args:
        train: its codes on training rows, for a threshold. [n, 1]
        test: on test rows. [t, 1]
        y: labels of training rows. [n] bool
        judged: labels of test rows. [t] bool
    """
    threshold = best_rare_threshold(train, y, PREVALENCE)[1]
    above = (test > threshold)[:, 0].double()
    return {
        "average_precision": rare_average_precision(test[:, 0], judged).item(),
        "auroc": auroc(test[judged, 0], test[~judged, 0]).item(),
        "tuned_f1": rare_f1(above[judged].mean(), above[~judged].mean(), PREVALENCE).item(),
        "firing_f1": fires_rare_f1(test, judged, PREVALENCE).item(),
    }


def union_f1(train: Tensor, test: Tensor, y: Tensor, judged: Tensor) -> float:
    """F1 at 5 % prevalence, on test rows, of the union of latents that coalition matching chose on training rows.

    Args:
        train: codes on training rows, chosen from on as many negatives as positives. [n, d_sae]
        test: codes on test rows. [t, d_sae]
        y: labels of training rows. [n] bool
        judged: labels of test rows. [t] bool
    """
    even = torch.cat([y.nonzero()[:, 0], (~y).nonzero()[: int(y.sum()), 0]])
    chosen = coalition(train[even] != 0, y[even])
    union = (test[:, chosen] != 0).any(1).double()
    return rare_f1(union[judged].mean(), union[~judged].mean(), PREVALENCE).item()


def probes(table: Tensor, problems: list[Problem], wanted: Sequence[str]) -> Figures:
    """Scores of k-sparse logistic probes on test rows, latents ranked as in the paper that a score comes from.

    AUROC: latents by difference over mean magnitude, validated penalty (sae-probes' ranking); accuracy: by plain
    difference, C = 1 (SAEBench); average precision: by standardised difference, validated penalty.
    """
    out: Figures = {}
    for name in wanted:
        kind, k = name.rsplit("_k", 1)
        selection, fit = FITS[kind]
        columns = [merge_block(None, table, 0, p, int(k), selection).columns for p in problems]
        margins = fit_all(columns, problems, fit)
        out[name] = [_judged(kind, m, p) for m, p in zip(margins, problems, strict=True)]
    return out


def _judged(kind: str, margin: Tensor, problem: Problem) -> float:
    positive = problem.positive[problem.n_train :]
    match kind:
        case "auroc":
            return auroc(margin[positive], margin[~positive]).item()
        case "average_precision":
            return rare_average_precision(margin, positive).item()
        case _:
            classes = (accuracy(margin[side], positive[side]) for side in (positive, ~positive))
            return torch.stack(list(classes)).mean().item()


@torch.no_grad()
def truths(sae: SAE, model: WorldModel) -> dict[str, float]:
    """How well an SAE's latents are the features of the world, in five ways, and its L0; on the world's first TOKENS.

    mcc; best_ap and best_tuned_f1, means over every second of the d_sae most frequent features (those that fire at
    least 8 times) of its best latent's average precision and F1 at the best threshold, both at 5 % prevalence;
    feature_f1 and f1 (see worlds.truth), where a latent fires if its code is not 0.
    """
    blocks = range(-(-TOKENS // (BLOCK * model.tokens)))
    true = torch.cat([model.features(b) for b in blocks])[:TOKENS]
    codes = sae.encode(torch.cat([model.activations(b) for b in blocks])[:TOKENS])
    counts = truth.count(truth.firing(codes), truth.firing(true))
    decoder = decoder_of(sae)
    assert decoder is not None
    cos = truth.cosines(decoder.float(), model.world.directions)
    within_reach = model.by_frequency[: sae.d_sae]
    fires = true[:, within_reach[::FEATURE_STEP]] > 0
    fires = fires[:, fires.sum(0) >= 8]
    best = best_latent_scores(of := Samples(codes, fires), of, PREVALENCE, NEAR)
    return {
        "mcc": truth.mcc(cos),
        "best_ap": best.precision.mean().item(),
        "best_tuned_f1": best.f1.mean().item(),
        "feature_f1": truth.of_features(counts)[within_reach].mean().item(),
        "f1": truth.of_latents(counts, cos).f1.mean().item(),
        "l0": (codes != 0).sum(1).float().mean().item(),
    }
