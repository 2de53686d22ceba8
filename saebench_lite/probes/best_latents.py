"""The best latent for each of many concepts, by average precision or tuned F1. Pure functions of codes.

Neither reads where a code is 0: a strictly increasing map of a latent's codes changes nothing. Source: Oikarinen et
al., arXiv:2506.05774, for average precision and F1 as scores of a latent for a concept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from saebench_lite.metrics.classification import average_precision, best_rare_threshold, rare_f1
from saebench_lite.probes.latent_selection import first_largest, standardised_differences

CANDIDATES = 8
"Latents of a concept among which the best is looked for: those with the largest standardised differences."


class Samples(NamedTuple):
    """Codes of some samples beside the truth."""

    codes: Tensor
    "[n, h]"
    fires: Tensor
    "Whether each concept is there. [n, N] bool"


class _Near(NamedTuple):
    """One concept with its candidate latents."""

    codes: Tensor
    "[n, m], on the samples where latents are chosen"
    fires: Tensor
    "[n]"
    judged_codes: Tensor
    "[t, m]"
    judged_fires: Tensor
    "[t]"
    prevalence: float
    judged_prevalence: float


def best_latent_precision(
    chosen: Samples, judged: Samples, prevalence: float | None = None, candidates: int = CANDIDATES
) -> Tensor:
    """Average precision on `judged` of the latent with the largest on `chosen`, for each concept. [N] float64

    Args:
        chosen: samples on which latents are chosen; every concept is there in some of them and not in others.
        judged: samples on which they are judged, of which the same holds; they may be the same ones.
        prevalence: share of samples with the concept to which precision is weighted; None: the concept's own share.
        candidates: latents tried for each concept.
    """
    out = []
    for near in _each(chosen, judged, prevalence, candidates):
        first = average_precision(near.codes[near.fires].T, near.codes[~near.fires].T, near.prevalence)
        best = near.judged_codes[:, first.argmax()]
        value = average_precision(best[near.judged_fires], best[~near.judged_fires], near.judged_prevalence)
        out.append(value)
    return torch.stack(out)


def best_latent_f1(
    chosen: Samples, judged: Samples, prevalence: float | None = None, candidates: int = CANDIDATES
) -> Tensor:
    """F1 on `judged` of the latent and threshold with the largest on `chosen`, for each concept. [N] float64

    Args:
        chosen: as in `best_latent_precision`.
        judged: likewise.
        prevalence: likewise.
        candidates: likewise.
    """
    out = []
    for near in _each(chosen, judged, prevalence, candidates):
        f1, threshold = best_rare_threshold(near.codes, near.fires, near.prevalence)
        best = f1.argmax()
        above = (near.judged_codes[:, best].double() > threshold[best]).double()
        hit, false_alarm = above[near.judged_fires].mean(), above[~near.judged_fires].mean()
        out.append(rare_f1(hit, false_alarm, near.judged_prevalence))
    return torch.stack(out)


def _each(chosen: Samples, judged: Samples, prevalence: float | None, candidates: int) -> Iterator[_Near]:
    """Concepts one by one, with the codes of their candidates on both sets of samples."""
    difference = standardised_differences(chosen.codes, chosen.fires.T.double())
    for concept, latents in enumerate(first_largest(difference, candidates)):
        fires, judged_fires = chosen.fires[:, concept], judged.fires[:, concept]
        yield _Near(
            chosen.codes[:, latents],
            fires,
            judged.codes[:, latents],
            judged_fires,
            fires.double().mean().item() if prevalence is None else prevalence,
            judged_fires.double().mean().item() if prevalence is None else prevalence,
        )
