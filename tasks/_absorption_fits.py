"""What absorption fits: the model's own probes, each parent's candidate latents and its k-sparse probes."""

from __future__ import annotations

from typing import Literal, NamedTuple, assert_never

import torch
from torch import Tensor

from saebench_lite.activations.acts import Acts
from saebench_lite.activations.pooled_codes import Pooled
from saebench_lite.activations.pooling import pooled_codes
from saebench_lite.api.probe_types import Direction
from saebench_lite.metrics.classification import f1
from saebench_lite.probes.latent_selection import RankedColumns, merged_columns, standardised_differences
from saebench_lite.probes.logistic import fit_logistic, fit_sparse_ranking, scores, standardise
from saebench_lite.probes.peer_fits import fit_adam
from saebench_lite.saes.protocol import SAE
from saebench_lite.stats.seeds import derive_seed
from saebench_lite.tasks._first_letters import Examples

FitMethod = Literal["optimum", "adam"]
"Penalised optima, or SAEBench's 50 epochs of Adam."
CANDIDATES = 30
"Latents of a parent that the L1 ranking runs over."


class PreparedWords(NamedTuple):
    """One seed's words and the model's own probes."""

    seed: int
    acts: Acts
    "One row a word, training words first."
    x: Tensor
    "[n, d] float64"
    y: Tensor
    "[parents, n] bool"
    n_train: int
    parents: list[str]
    truth: Direction
    "The model's own probes."
    probe_f1: Tensor
    "[parents] on test words"
    counts: list[bool]
    "Which parents are scored."

    def on(self, device: torch.device) -> PreparedWords:
        """The same where the SAE is, which stays in main memory if it has no `to`."""
        truth = Direction(*(t.to(device) for t in self.truth))
        return self._replace(x=self.x.to(device), y=self.y.to(device), truth=truth)


def fit_truth(x: Tensor, examples: Examples, fit: FitMethod, seed: int) -> Direction:
    """The model's own probe of every parent, fitted on the training rows.

    Args:
        x: activations [n, d] float64.
        examples: labels, and how many rows are for training.
        fit: the way to fit.
        seed: of the start and batches of "adam".
    """
    match fit:
        case "optimum":
            return fit_balanced(x[None], examples.y, examples.n_train)
        case "adam":
            n, drawn = examples.n_train, derive_seed("absorption truth", seed)
            return fit_adam(x[:n], examples.y[:, :n], l1=0.0, l2=1e-4, batch=64, seed=drawn)
        case _:
            assert_never(fit)


def fit_balanced(x: Tensor, y: Tensor, n_train: int, *, standardised: bool = True) -> Direction:
    """Class-balanced logistic regressions (C = 1) on the first rows, in x's own scale.

    Args:
        x: rows, shared by all problems or of each [1 or B, n, k].
        y: labels [B, n] bool.
        n_train: how many of the first rows are for training.
        standardised: whether the penalty is on standardised columns.
    """
    train_mask = (torch.arange(y.shape[1], device=y.device) < n_train).expand_as(y).double()
    columns, mean, sd = standardise(x, train_mask[:1] if len(x) == 1 else train_mask)
    if not standardised:
        columns, mean, sd = x, torch.zeros_like(mean), torch.ones_like(sd)
    positives = (train_mask * y).sum(-1, keepdim=True)
    weight = train_mask * torch.where(y, n_train / (2 * positives), n_train / (2 * (n_train - positives)))
    fitted = fit_logistic(columns, y, weight, torch.ones(len(y), device=y.device))
    direction = fitted.weight / sd
    return Direction(direction, fitted.bias - (direction * mean).sum(-1))


class Candidates(NamedTuple):
    """Latents that may become a parent's main ones."""

    latents: Tensor
    "[parents, c]"
    columns: Tensor
    "Their codes. [parents, n, c] float64"
    order: Tensor
    "Places in `latents`, the best for a sparse probe first. [parents, c]"


def candidates(sae: SAE, pooled: Pooled, part: PreparedWords, fit: FitMethod, max_k: int) -> Candidates:
    """Each parent's latents in the order in which its sparse probes take them up.

    Args:
        sae: the SAE.
        pooled: its pooled codes.
        part: examples of one seed.
        fit: the way to fit.
        max_k: latents a sparse probe takes at most.
    """
    match fit:
        case "optimum":
            latents, columns = _most_different(pooled, part)
            return Candidates(latents, columns, fit_sparse_ranking(columns, part.y, part.n_train))
        case "adam":
            latents, columns = _largest_weights(sae, part, max_k, pooled.memory)
            return Candidates(
                latents, columns, torch.arange(latents.shape[1], device=latents.device).expand_as(latents)
            )
        case _:
            assert_never(fit)


def _most_different(pooled: Pooled, part: PreparedWords) -> tuple[Tensor, Tensor]:
    """Latents [parents, c] whose means differ most in a parent's favour, and their codes [parents, n, c]."""
    y = part.y[:, : part.n_train].double()
    best: RankedColumns | None = None
    for block, tables in pooled.blocks():
        table = tables["last"]
        score = standardised_differences(table[: part.n_train], y)
        best = merged_columns(best, score, block.start, CANDIDATES, lambda top, t=table: t.T[top].mT.double())
    assert best is not None
    return best.latent, best.columns


def _largest_weights(sae: SAE, part: PreparedWords, max_k: int, memory: int) -> tuple[Tensor, Tensor]:
    """SAEBench's latents [parents, k], largest signed weight first, and their codes [parents, n, k].

    One L1-penalised probe a parent on the whole code; memory is texts x d_sae.
    """
    codes = pooled_codes(sae, part.acts, ("last",), memory=memory)["last"]
    n, drawn = part.n_train, derive_seed("absorption ranking", part.seed)
    fitted = fit_adam(codes[:n], part.y[:, :n].to(codes.device), l1=0.01, l2=1e-6, batch=4096, seed=drawn)
    latents = fitted.weight.topk(min(max_k, codes.shape[1]), dim=1).indices
    return latents, codes.T[latents].mT.double()


def f1_by_k(parent_latents: Candidates, part: PreparedWords, fit: FitMethod, max_k: int) -> Tensor:
    """F1 on test rows of each parent's sparse probe on its first 1, 2, ... latents: [parents, k].

    Args:
        parent_latents: each parent's latents and their codes.
        part: examples of one seed.
        fit: the way to fit.
        max_k: latents a sparse probe takes at most.
    """
    columns = parent_latents.columns
    by_k = []
    for k in range(1, min(max_k, columns.shape[-1]) + 1):
        x = columns.gather(2, parent_latents.order[:, None, :k].expand(-1, columns.shape[1], -1))
        fitted = fit_balanced(x, part.y, part.n_train, standardised=fit == "optimum")
        by_k.append(f1(scores(fitted, x[:, part.n_train :]), part.y[:, part.n_train :]))
    return torch.stack(by_k, 1)
