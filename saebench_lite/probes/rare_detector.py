"""One latent as a detector of a rare concept: chosen on training rows, judged on test rows.

The score is the mean of two F1s at a prevalence of 5 %: of the latent as it fires (code not 0), which is what its
sparsity claims, and of the latent above a threshold tuned on the training rows, which is the best use one could make of
it. AUROC on balanced classes cannot tell a latent that fires for a concept from one that also fires for a hundred
other things; at 5 % prevalence nineteen of twenty chances to be wrong are outside the concept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from saebench_lite.activations.pooled_codes import Pooled
from saebench_lite.activations.pooling import Pooling
from saebench_lite.metrics.classification import best_rare_threshold, fires_rare_f1, rare_f1
from saebench_lite.probes.latent_selection import Ranked, class_statistics, merged, ranked

PREVALENCE = 0.05


SHORTLIST = 64
"Latents whose thresholds are tuned: the best by firing and as many by difference of means."


class Case(NamedTuple):
    """One concept; rows are texts of the corpus."""

    rows: Tensor
    "Training rows, then test rows. [n]"
    positive: Tensor
    "[n] bool"
    n_train: int


class Shortlist(NamedTuple):
    """Latents worth tuning for one case."""

    by_firing: Ranked
    by_spread: Ranked

    @property
    def latents(self) -> Tensor:
        """Distinct, ascending."""
        return torch.cat([self.by_firing.latent, self.by_spread.latent]).unique()


class Detector(NamedTuple):
    """The latent chosen, with its pooled codes."""

    score: float
    "On the training rows."
    latent: int
    column: Tensor
    "Its pooled codes on the case's rows. [n]"


def shortlist(table: Tensor, offset: int, case: Case, so_far: Shortlist | None = None) -> Shortlist:
    """The latents worth tuning among `so_far` and a block of latents.

    Scores are rounded to float32, so that latents that tie do so in any block.

    Args:
        table: pooled codes of the block [texts, m].
        offset: index of its first latent.
        case: the concept, whose training rows are read.
        so_far: shortlist of the blocks before; None at the first.
    """
    sums = class_statistics(table, case.rows[: case.n_train], case.positive[: case.n_train])
    by_firing = rare_f1(sums.fires[0], sums.fires[1], PREVALENCE).float()
    spread = ((sums.mean[0] - sums.mean[1]) / sums.absolute.clamp(min=1e-30)).float()
    new = ranked(by_firing, offset, SHORTLIST), ranked(spread, offset, SHORTLIST)
    return Shortlist(*(merged(a, b, SHORTLIST) for a, b in zip(so_far or (None, None), new, strict=True)))


def detectors(pooled: Pooled, how: Pooling, cases: Sequence[Case], short: Sequence[Shortlist]) -> list[Detector]:
    """The best latent of each case among its shortlist, by score on the training rows; of equal ones the first.

    Args:
        pooled: pooled codes of the corpus.
        how: the pooling to read.
        cases: the concepts.
        short: a shortlist for each case.
    """
    found: list[Detector | None] = [None] * len(cases)
    wanted = torch.cat([s.latents for s in short]).unique()
    for ids, tables in pooled.columns(wanted):
        for i, (case, some) in enumerate(zip(cases, short, strict=True)):
            mine = some.latents[torch.isin(some.latents, ids)]
            if not len(mine):
                continue
            rows = case.rows.to(ids.device)
            codes = tables[how][rows[:, None], torch.searchsorted(ids, mine)]
            score, place = best_column(codes[: case.n_train], case.positive[: case.n_train].to(ids.device))
            before = found[i]
            if before is None or score > before.score:
                found[i] = Detector(score, int(mine[place]), codes[:, place].clone())
    return [f for f in found if f is not None]


def best_column(codes: Tensor, positive: Tensor) -> tuple[float, int]:
    """Training score and place of the best of some latents: codes [n, m], positive [n] bool. Dead latents score 0."""
    tuned, _ = best_rare_threshold(codes, positive, PREVALENCE)
    total = ((fires_rare_f1(codes, positive, PREVALENCE) + tuned) / 2).float()
    best = int((total == total.max()).nonzero()[0])
    return total[best].item(), best


def rare_figures(
    train: Tensor,
    train_positive: Tensor,
    test: Tensor,
    test_positive: Tensor,
    *,
    has_zero: bool = True,
    prevalence: float = PREVALENCE,
) -> dict[str, float]:
    """The score and its two parts on test rows.

    A probe has no firing of its own (`has_zero=False`): both parts are then its F1 above the tuned threshold.

    Args:
        train: codes of one latent on training rows [n].
        train_positive: their labels [n] bool.
        test: codes on test rows [m].
        test_positive: their labels [m] bool.
        has_zero: whether a code above 0 counts as firing.
        prevalence: share of positives that F1 assumes.
    """
    _, threshold = best_rare_threshold(train[:, None], train_positive, prevalence)
    said = test > threshold
    hit, alarm = said[test_positive].double().mean(), said[~test_positive].double().mean()
    tuned = rare_f1(hit, alarm, prevalence).item()
    fires = fires_rare_f1(test[:, None], test_positive, prevalence).item() if has_zero else tuned
    return {"rare_f1": (fires + tuned) / 2, "rare_f1_fires": fires, "rare_f1_tuned": tuned}
