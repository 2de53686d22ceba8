"""The best latent for each of many concepts, by average precision and by tuned F1. Pure functions of codes.

Neither reads where a code is 0: a strictly increasing map of a latent's codes changes nothing. Both change only where
the threshold passes a positive, of which a concept has few, so that a latent's codes are sorted once for all concepts.
Source: Oikarinen et al., arXiv:2506.05774, for average precision and F1 as scores of a latent for a concept.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from saebench_lite.metrics.classification import ascending, rare_f1
from saebench_lite.probes.latent_selection import first_largest, standardised_differences

CANDIDATES = 8
"Latents of a concept among which the best is looked for: those with the largest standardised differences."
SORTED = 1 << 22
"Codes that are sorted together."
TOGETHER = 1 << 19
"Positives, once for each candidate, of the concepts that are worked on together."


class Samples(NamedTuple):
    """Codes of some samples beside the truth."""

    codes: Tensor
    "[n, h]"
    fires: Tensor
    "Whether each concept is there. [n, N] bool"


class BestLatentScores(NamedTuple):
    """Scores of the best latent for each concept, [N] float64 each."""

    precision: Tensor
    "Average precision of the latent whose is the largest where latents are chosen."
    f1: Tensor
    "F1 of the latent and threshold whose is the largest there."


class _Scores(NamedTuple):
    """Of each concept and latent, [N, m] float64 each."""

    precision: Tensor
    f1: Tensor
    "At the best threshold."
    threshold: Tensor
    "Half-way to the next lower code; of thresholds that tie the highest."


def best_latent_scores(
    chosen: Samples, judged: Samples, prevalence: float | None = None, candidates: int = CANDIDATES
) -> BestLatentScores:
    """Average precision and tuned F1 on `judged` of the latents that are best on `chosen`, for each concept.

    Latents that tie are taken in the order of their standardised differences. ValueError for a concept that is there
    in no sample or in all, and on a CPU for NaN in the codes of a latent that is tried.

    Args:
        chosen: samples on which latents and thresholds are chosen; every concept is there in some of them and not in
            others.
        judged: samples on which they are judged, of which the same holds; they may be the same ones.
        prevalence: share of samples with the concept to which precision is weighted; None: the concept's own share.
        candidates: latents tried for each concept.
    """
    for samples in (chosen, judged):
        if (samples.fires.all(0) | ~samples.fires.any(0)).any():
            raise ValueError("a concept is there in none or in all of the samples")
    if not chosen.fires.shape[1]:
        return BestLatentScores(*chosen.codes.new_zeros(2, 0, dtype=torch.float64))
    difference = standardised_differences(chosen.codes, chosen.fires.T)
    latents = first_largest(difference, candidates)
    tried = _scores(chosen, latents, prevalence)
    by_precision, by_f1 = (first_largest(score, 1) for score in (tried.precision, tried.f1))
    precision = _scores(judged, latents.gather(1, by_precision), prevalence).precision[:, 0]
    threshold = tried.threshold.gather(1, by_f1)[:, 0]
    return BestLatentScores(precision, _f1_above(judged, latents.gather(1, by_f1)[:, 0], threshold, prevalence))


def _rates(fires: Tensor, prevalence: float | None) -> Tensor:
    """The share of positives to which each concept is weighted. [N] float64"""
    own = fires.sum(0).double() / len(fires)
    return own if prevalence is None else torch.full_like(own, prevalence)


def _f1_above(samples: Samples, latents: Tensor, threshold: Tensor, prevalence: float | None) -> Tensor:
    """F1 of "code > threshold" of one latent a concept. latents, threshold [N] -> [N]"""
    hit, false_alarm, width = [], [], max(1, SORTED // len(samples.codes))
    for of, limit, fires in zip(
        latents.split(width), threshold.split(width), samples.fires.split(width, 1), strict=True
    ):
        above = samples.codes[:, of].double() > limit
        hit.append((above & fires).sum(0) / fires.sum(0).double())
        false_alarm.append((above & ~fires).sum(0) / (~fires).sum(0).double())
    return rare_f1(torch.cat(hit), torch.cat(false_alarm), _rates(samples.fires, prevalence))


def _scores(samples: Samples, latents: Tensor, prevalence: float | None) -> _Scores:
    """Scores of the latents [N, m] of each concept, a group of concepts at a time."""
    positives = samples.fires.sum(0) * latents.shape[1]
    group = (positives.cumsum(0) - positives) // TOGETHER
    sizes = torch.unique_consecutive(group, return_counts=True)[1].tolist()
    rates = _rates(samples.fires, prevalence)
    parts = zip(samples.fires.split(sizes, 1), latents.split(sizes), rates.split(sizes), strict=True)
    done = [_scores_of_group(samples.codes, fires, of, rate) for fires, of, rate in parts]
    return _Scores(*(torch.cat(columns) for columns in zip(*done, strict=True)))


def _scores_of_group(codes: Tensor, fires: Tensor, latents: Tensor, rates: Tensor) -> _Scores:
    """`_Scores` from one entry for each positive and latent of its concept.

    With p positives and q negatives the shares at an entry's own code are R = (positives at or above it) / p and
    F = (negatives at or above it) / q; precision is pi R / (pi R + (1 - pi) F), and F1 is largest at a positive.

    Args:
        codes: [n, h].
        fires: [n, N] bool.
        latents: [N, m].
        rates: the share pi of positives of each concept. [N]
    """
    n, m = len(codes), latents.shape[1]
    concept, sample = fires.T.nonzero(as_tuple=True)
    pair = (concept[:, None] * m + torch.arange(m, device=codes.device)).flatten()
    at_least, code, lower = _places(codes, latents.flatten()[pair], sample.repeat_interleave(m))
    key, order = (pair * (n + 1) + at_least).sort()  # by pair, the highest codes first
    pair, at_least = pair[order], at_least[order]
    p = fires.sum(0).repeat_interleave(m)
    found = torch.searchsorted(key, key, right=True) - (p.cumsum(0) - p)[pair]
    recall = found / p[pair].double()
    false_alarm = (at_least - found) / (n - p[pair]).double()
    true = rates[pair // m] * recall
    precision = true / (true + (1 - rates[pair // m]) * false_alarm)
    f1 = rare_f1(recall, false_alarm, rates[pair // m])
    best = torch.segment_reduce(f1, "max", lengths=p)
    place = torch.arange(len(pair), device=codes.device).where(f1 == best[pair], len(pair))
    at = order[torch.full_like(p, len(pair)).scatter_reduce_(0, pair, place, "amin")]  # the first where several tie
    average = torch.segment_reduce(precision, "sum", lengths=p) / p
    return _Scores(*(t.view(len(latents), m) for t in (average, best, (code[at] + lower[at]) / 2)))


def _places(codes: Tensor, latents: Tensor, samples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of the codes [n, h] at (samples, latents) [k]: how many samples' codes are at least as high, the codes, and the
    next lower ones, or one less where there is none. [k] each, int64, float64 and float64.
    """
    at_least = torch.empty_like(samples)
    code, lower = torch.empty(2, len(samples), dtype=torch.float64, device=samples.device)
    order = latents.argsort()
    used, counts = latents[order].unique_consecutive(return_counts=True)
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    for low in range(0, len(used), width := max(1, SORTED // len(codes))):
        of = used[low : low + width]
        entries = order[starts[low] : starts[low + len(of)]]
        row = torch.arange(len(of), device=codes.device).repeat_interleave(counts[low : low + width])
        columns = codes.T[of].double()
        ordered = ascending(columns)
        below = torch.searchsorted(ordered, columns)[row, samples[entries]]
        code[entries] = columns[row, samples[entries]]
        at_least[entries] = len(codes) - below
        lower[entries] = torch.where(below > 0, ordered[row, (below - 1).clamp(min=0)], code[entries] - 1)
    return at_least, code, lower
