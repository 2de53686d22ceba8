"""What absorption fits: the model's own probes, each parent's candidate latents and its k-sparse probes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal, NamedTuple, assert_never

import torch
from torch import Tensor

from saebench_lite.activations.acts import Acts
from saebench_lite.activations.pooled_codes import Pooled
from saebench_lite.activations.pooling import pooled_codes
from saebench_lite.activations.prepared import numbers_digest
from saebench_lite.api.context import EvalContext
from saebench_lite.api.probe_types import Direction
from saebench_lite.errors import NotApplicable
from saebench_lite.metrics.classification import f1
from saebench_lite.probes.latent_selection import (
    RankedColumns,
    merged_columns,
    ranked_columns,
    standardised_differences,
)
from saebench_lite.probes.logistic import fit_logistic, scores, standardise
from saebench_lite.probes.peer_fits import fit_adam
from saebench_lite.probes.sparse_ranking import fit_sparse_ranking
from saebench_lite.saes.protocol import SAE
from saebench_lite.stats.seeds import derive_seed
from saebench_lite.tasks._first_letters import Examples, Form

FitMethod = Literal["optimum", "adam"]
"Penalised optima, or SAEBench's 50 epochs of Adam."
CANDIDATES = 30
"Latents of a parent that the L1 ranking runs over."
TRUTH_CODE = 2
"Grows with each change of how `fit_truth` comes to its numbers: cached ones are not read then."


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
    hierarchy: str = "words"
    "What sentences call the examples."
    too_few: Sequence[str] = ()
    "Parents without a probe, for want of examples."
    form: Form = "examples"
    "Where words are read."

    @property
    def left_out(self) -> dict[str, float | None]:
        """Parents that are not scored, with the F1 of their probe; None where there is none."""
        weak = zip(self.parents, self.probe_f1.tolist(), self.counts, strict=True)
        return {name: f1 for name, f1, counts in weak if not counts} | dict.fromkeys(self.too_few)

    def scored(self) -> PreparedWords:
        """The same with the parents that are scored alone."""
        which = torch.tensor(self.counts, device=self.y.device)
        return self._replace(
            y=self.y[which],
            parents=[name for name, counts in zip(self.parents, self.counts, strict=True) if counts],
            truth=Direction(*(t[which] for t in self.truth)),
            probe_f1=self.probe_f1[which],
            counts=[True] * int(which.sum()),
        )

    def on(self, device: torch.device) -> PreparedWords:
        """The same where the SAE is, which stays in main memory if it has no `to`."""
        truth = Direction(*(t.to(device) for t in self.truth))
        return self._replace(x=self.x.to(device), y=self.y.to(device), truth=truth)


def with_truths(
    ctx: EvalContext,
    drawn: Sequence[Examples],
    seeds: Sequence[int],
    fit: FitMethod,
    *,
    min_f1: float,
    min_share: float,
) -> list[PreparedWords]:
    """Each seed's examples with the model's own probes; a note says which parents stay below the bar.

    NotApplicable where a seed has no parent whose probe reaches the bar, or too few.

    Args:
        ctx: the site.
        drawn: examples of each seed.
        seeds: of the repetitions.
        fit: the way to fit.
        min_f1: F1 on test rows that a parent's probe must reach for the parent to be scored.
        min_share: share of the parents that must reach it.
    """
    out = []
    for seed, examples in zip(seeds, drawn, strict=True):
        x, y, n = examples.acts.x.to(ctx.device).double(), examples.y, examples.n_train
        truth = _cached_truth(ctx, x, examples, fit, seed)
        reached = f1(scores(truth, x[n:]), y[:, n:])
        counts = (reached >= min_f1).tolist()
        if not any(counts) or sum(counts) < min_share * len(counts):
            raise NotApplicable(
                f"the model's own probe reaches F1 {min_f1} for only {sum(counts)} of {len(counts)} parents of the"
                f" {examples.hierarchy}: the model does not hold the feature well enough at {ctx.hook}"
            )
        told = (examples.hierarchy, examples.too_few, examples.form)
        out.append(PreparedWords(seed, examples.acts, x, y, n, examples.names, truth, reached, counts, *told))
    weak = {parent for part in out for parent, counts in zip(part.parents, part.counts, strict=True) if not counts}
    if weak:
        every = {parent for part in out for parent in part.parents}
        ctx.note(
            f"absorption leaves out {len(weak)} of {len(every)} parents of the {out[0].hierarchy}, for the model's own"
            f" probe stays below F1 {min_f1} in at least one draw: {', '.join(sorted(weak))}"
        )
    return out


def _cached_truth(ctx: EvalContext, x: Tensor, examples: Examples, fit: FitMethod, seed: int) -> Direction:
    """`fit_truth` from the cache, where it lies under a digest of the numbers that it is fitted on.

    Args:
        ctx: the site.
        x: activations [n, d] float64.
        examples: labels, and how many rows are for training.
        fit: the way to fit.
        seed: of "adam".
    """
    hashed = [numbers_digest(t) for t in (x, examples.y)]
    identity = [TRUTH_CODE, *hashed, list(x.shape), list(examples.y.shape), examples.n_train, fit, seed]
    read = ctx.prepared("absorption truth", identity, lambda: fit_truth(x, examples, fit, seed)._asdict())
    return Direction(read["weight"].to(x.device), read["bias"].to(x.device))


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
    x, y = x[:, :n_train], y[:, :n_train]
    every = torch.ones_like(y, dtype=torch.float64)
    columns, mean, sd = standardise(x, every[: len(x)])
    if not standardised:
        columns, mean, sd = x, torch.zeros_like(mean), torch.ones_like(sd)
    positives = y.double().sum(-1, keepdim=True)
    weight = torch.where(y, n_train / (2 * positives), n_train / (2 * (n_train - positives)))
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
    y = part.y[:, : part.n_train]
    best: RankedColumns | None = None
    for block, tables in pooled.blocks():
        table = tables["last"]
        score = standardised_differences(table[: part.n_train], y)
        new = ranked_columns(score, block.start, CANDIDATES, partial(_columns, table))
        best = merged_columns(best, new, CANDIDATES)
    assert best is not None
    return best.latent, best.columns


def _columns(table: Tensor, latents: Tensor) -> Tensor:
    """Codes [parents, n, c] float64 of latents [parents, c] of a table [n, m], in memory latent by latent."""
    return table.index_select(1, latents.flatten()).T.contiguous().double().view(*latents.shape, -1).mT


def _largest_weights(sae: SAE, part: PreparedWords, max_k: int, memory: int) -> tuple[Tensor, Tensor]:
    """SAEBench's latents [parents, k], largest signed weight first, and their codes [parents, n, k].

    One L1-penalised probe a parent on the whole code; memory is texts x d_sae.
    """
    codes = pooled_codes(sae, part.acts, ("last",), memory=memory)["last"]
    n, drawn = part.n_train, derive_seed("absorption ranking", part.seed)
    fitted = fit_adam(codes[:n], part.y[:, :n].to(codes.device), l1=0.01, l2=1e-6, batch=4096, seed=drawn)
    latents = fitted.weight.topk(min(max_k, codes.shape[1]), dim=1).indices
    return latents, codes.T[latents].mT.double()


class SparseProbes(NamedTuple):
    """What each parent's sparse probes on its first 1, 2, ... latents do on test rows."""

    f1: Tensor
    "[parents, k]"
    missed: Tensor
    "Share of the rows that the model's own probe gets right and the sparse one does not; NaN: none. [parents, k]"


def sparse_probes(
    parent_latents: Candidates, part: PreparedWords, right: Tensor, fit: FitMethod, max_k: int, jump: float
) -> SparseProbes:
    """Each parent's sparse probes for k = 1, 2, ... up to the first k whose F1 does not beat the one before.

    `main_latents` (of families) reads no further; what is not fitted is NaN.

    Args:
        parent_latents: each parent's latents and their codes.
        part: examples of one seed.
        right: positive test rows that the model's own probe finds [parents, n_test] bool.
        fit: the way to fit.
        max_k: latents a sparse probe takes at most.
        jump: by how much F1 has to rise.
    """
    columns, order = parent_latents.columns, parent_latents.order
    shape = len(columns), min(max_k, columns.shape[-1])
    out = SparseProbes(columns.new_full(shape, torch.nan), columns.new_full(shape, torch.nan))
    growing = torch.arange(len(columns), device=columns.device)
    for k in range(1, shape[1] + 1):
        x = torch.stack([columns[i][:, order[i, :k]] for i in growing.tolist()])
        y, found = part.y[growing], right[growing]
        margin = scores(fit_balanced(x, y, part.n_train, standardised=fit == "optimum"), x[:, part.n_train :])
        out.f1[growing, k - 1] = f1(margin, y[:, part.n_train :])
        out.missed[growing, k - 1] = (found & (margin <= 0)).double().sum(1) / found.double().sum(1)
        if k > 1:
            growing = growing[out.f1[growing, k - 1] > out.f1[growing, k - 2] + jump]
        if not len(growing):
            break
    return out
