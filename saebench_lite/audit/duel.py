"""The headline against plain k-sparse probing, on the same SAEs: paired, with intervals. Pure functions of records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from saebench_lite.audit.correlations import bootstrap_spearman, spearman
from saebench_lite.audit.grade import Grade, composite_truth
from saebench_lite.audit.roles import SubjectRoles
from saebench_lite.records.record import Record

HEADLINES = ("average_precision_max", "average_precision_mean")
PLAIN = tuple(f"auroc_k{k}_{pooling}" for k in (1, 5, 16) for pooling in ("mean", "last"))


@dataclass(frozen=True, kw_only=True)
class DuelRow:
    """One score in the duel."""

    metric: str
    truth: float
    "Spearman correlation with the truth over all SAEs, oracle and controls."
    ahead: tuple[float, float, float] | None
    "How much more the first headline has: value, 95 % interval over SAEs drawn with replacement; None for itself."
    within: float
    "Mean over architectures of the correlation among their variants."
    power: float | None
    "Spread between variants of one architecture over the evaluation's noise."


def duel(records: Sequence[Record], graded: Sequence[Grade], roles: SubjectRoles) -> list[DuelRow]:
    """Headlines, then plain probing at k 1, 5 and 16, by agreement with the truth and power within architectures."""
    truth = composite_truth(records, roles.judged)
    by = {g.metric: g for g in graded if g.task == "sparse_probing"}
    names = [m for m in (*HEADLINES, *PLAIN) if m in by]
    vectors = [np.array([by[m].values[n] for n in roles.judged]) for m in names]
    draws = bootstrap_spearman(vectors, truth, "duel")
    place = {n: i for i, n in enumerate(roles.judged)}
    rows = []
    for i, (name, vector) in enumerate(zip(names, vectors, strict=True)):
        gap = draws[:, 0] - draws[:, i]
        low, high = np.nanquantile(gap, [0.025, 0.975])
        value = spearman(vector, truth)
        inside = [
            spearman(vector[[place[n] for n in variants]], truth[[place[n] for n in variants]])
            for variants in roles.architectures.values()
        ]
        ahead = None if i == 0 else (spearman(vectors[0], truth) - value, float(low), float(high))
        rows.append(
            DuelRow(metric=name, truth=value, ahead=ahead, within=float(np.nanmean(inside)), power=by[name].power)
        )
    return rows


def architectures(records: Sequence[Record], roles: SubjectRoles) -> list[tuple[str, dict[str, float]]]:
    """(architecture, figures) at the sparsity of the world: truth F1, feature F1, MCC, explained variance, L0."""
    score = {(r.subject.name, r.task.name): r.scores for r in records if r.status == "ok"}
    true_l0 = np.mean([s["true_l0"].value for (_, t), s in score.items() if t == "truth"])
    out = []
    for architecture, names in roles.architectures.items():
        name = min(names, key=lambda n: abs(score[n, "reconstruction"]["l0"].value - true_l0))
        truth, reconstruction = score[name, "truth"], score[name, "reconstruction"]
        figures = {m: truth[m].value for m in ("f1", "feature_f1", "mcc")}
        figures |= {m: reconstruction[m].value for m in ("explained_variance", "l0")}
        out.append((architecture, figures))
    return sorted(out, key=lambda row: -row[1]["f1"])
