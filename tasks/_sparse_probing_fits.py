"""What sparse probing fits and on which rows: problems, the latents kept for each, probes and their test figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, assert_never

import numpy as np
import torch
from torch import Tensor

from saebench_lite.api.needs import Need
from saebench_lite.data.splits import Split, detection_split, split_of
from saebench_lite.data.types import Labelled
from saebench_lite.metrics.classification import accuracy, auroc, f1
from saebench_lite.metrics.peer_formulas import weighted_f1
from saebench_lite.metrics.resampling import Figure, accuracy_error, auroc_error, f1_error
from saebench_lite.probes.alike import alike
from saebench_lite.probes.baseline_scores import Question
from saebench_lite.probes.latent_selection import (
    RankedColumns,
    Selection,
    class_differences,
    merged_columns,
    ranked_columns,
)
from saebench_lite.probes.logistic import fit_logistic, scores
from saebench_lite.probes.peer_fits import fit_l1
from saebench_lite.probes.validated import fit_logistic_validated
from saebench_lite.stats.seeds import derive_seed

PeerProbe = Literal["l2", "l1"]
"SAEBench's (C = 1, columns as they are); sae-probes' (saga, C by AUROC, columns as they are)."
Probe = Literal["l2_validated", "l2", "l1"]
"Ours, or one of the peers'."
PEER_L1 = Need("sklearn", "peers")
"What the probe `l1` needs."


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

    def on(self, device: torch.device) -> Problem:
        """The same with its rows and labels on a device."""
        return self._replace(rows=self.rows.to(device), positive=self.positive.to(device))


def problem_of(labelled: Labelled, seed: int, split: Split, only_k: int | None = None) -> Problem:
    """The problem of a dataset's split.

    Args:
        labelled: the dataset.
        seed: of the split.
        split: its training and test rows.
        only_k: the one k it is for; None: all.
    """
    order = np.concatenate([split.train, split.test])
    rows, positive = torch.as_tensor(labelled.rows[order]), torch.as_tensor(labelled.positive[order])
    return Problem(labelled.name, seed, rows, positive, len(split.train), only_k)


class Group(NamedTuple):
    """What is asked of one dataset."""

    labelled: Labelled
    probing: list[Problem]
    "Balanced classes, for probes: one a seed (and k, where each has its own draw)."
    detection: list[Problem]
    "The classes' own sizes, for one latent as a detector: one a seed."


def group_of(
    labelled: Labelled, seeds: Sequence[int], redrawn: Sequence[int] | None, max_train: int, max_test: int | None
) -> Group:
    """All problems of a dataset; SaebenchError for one with too few texts of a class.

    Args:
        labelled: the dataset.
        seeds: of the splits.
        redrawn: values of k that each have a split of their own; None: one a seed.
        max_train: training rows at most.
        max_test: test rows at most, where the data has a test part.
    """
    probing = []
    for seed, k in ((s, k) for s in seeds for k in redrawn or (None,)):
        drawn = seed if k is None else derive_seed("redraw", seed, k) % 2**32
        probing.append(problem_of(labelled, seed, split_of(labelled, drawn, max_train, max_test), k))
    return Group(labelled, probing, [problem_of(labelled, seed, detection_split(labelled, seed)) for seed in seeds])


def question_of(problem: Problem) -> Question:
    """A problem as a baseline is asked it: learn the training rows, score the test rows."""
    n = problem.n_train
    return Question(problem.rows[:n], problem.positive[:n], problem.rows[n:])


def merge_block(
    best: RankedColumns | None, table: Tensor, offset: int, problem: Problem, k: int, selection: Selection
) -> RankedColumns:
    """Merges a block of latents into the best k of a problem so far, with their codes [n, k] on the problem's rows.

    Args:
        best: The best of earlier blocks, None before the first.
        table: Pooled codes. [texts, m]
        offset: The block's first latent.
        problem: On the table's device; its training rows alone rank latents.
        k: How many are wanted.
        selection: What latents are ranked by.
    """
    n = problem.n_train
    score = class_differences(table, problem.rows[:n], problem.positive[:n], selection).abs()
    new = ranked_columns(score, offset, k, lambda top: table[problem.rows[:, None], top])
    return merged_columns(best, new, k)


def fit_all(columns: list[Tensor], problems: list[Problem], probe: Probe) -> list[Tensor]:
    """Test margins of every problem, all probes of one k fitted as a batch. columns: [n, k] each."""
    match probe:
        case "l2_validated":
            return _fit_validated(columns, problems)
        case "l2" | "l1":
            return [peer_margin(x, p, probe) for x, p in zip(columns, problems, strict=True)]
        case _:
            assert_never(probe)


def _fit_validated(columns: list[Tensor], problems: list[Problem]) -> list[Tensor]:
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


def peer_margin(x: Tensor, problem: Problem, probe: PeerProbe) -> Tensor:
    """Test margins [n_test] of a probe as SAEBench ("l2") or sae-probes ("l1") fits it. x [n, k]."""
    n, y = problem.n_train, problem.positive[: problem.n_train].to(x.device)
    match probe:
        case "l1":
            fitted = fit_l1(x[:n], y, problem.seed)
        case "l2":
            fitted = fit_logistic(x[None, :n], y[None], torch.ones_like(y)[None], torch.ones(1, device=x.device))
        case _:
            assert_never(probe)
    return scores(fitted, x[n:])[0]


def figures_on_test(margins: list[Tensor], problems: list[Problem], probe: Probe) -> list[dict[str, Figure]]:
    """AUROC, accuracy and F1 of each problem's test margins [n] (positive: yes); for L1 weighted F1 too.

    Problems with as many positives and negatives are scored together.
    """
    labels = [p.positive[p.n_train :] for p in problems]
    out: list[dict[str, Figure]] = [{} for _ in problems]
    for members in alike((len(positive), int(positive.sum())) for positive in labels):
        margin = torch.stack([margins[i] for i in members]).cpu()
        positive = torch.stack([labels[i] for i in members]).cpu()
        for kind, values in _figures(margin, positive, probe).items():
            for i, value, error in zip(members, *values, strict=True):
                out[i][kind] = value, error
    return out


def _figures(margin: Tensor, positive: Tensor, probe: Probe) -> dict[str, tuple[list[float], Sequence[float | None]]]:
    """Values and errors of each figure, a row each: margin, positive [problems, n], as many positives in every row."""
    up, down = (margin[side].view(len(margin), -1) for side in (positive, ~positive))
    figures: dict[str, tuple[list[float], Sequence[float | None]]] = {
        "auroc": (auroc(up, down).tolist(), auroc_error(up, down).tolist()),
        "accuracy": (accuracy(margin, positive).tolist(), accuracy_error(margin, positive).tolist()),
        "f1": (f1(margin, positive).tolist(), f1_error(margin, positive).tolist()),
    }
    if probe == "l1":
        weighted = [weighted_f1(row > 0, truth) for row, truth in zip(margin, positive, strict=True)]
        figures["f1_weighted"] = weighted, [None] * len(weighted)
    return figures
