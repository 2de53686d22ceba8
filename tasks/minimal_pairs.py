"""Minimal pairs: do a concept's latents change, and only they, where a text changes in that concept alone?

An attribute has values (tense: past, future), each a concept. On texts to match, a coalition of at most 3 latents is
chosen for each value: greedily by F-beta (beta .5) against the texts not covered yet, as long as the F1 of the union
rises (a latent fires in a text if its largest code there is above 0). On other texts, with other words, in pairs:
match: F1 of the union, mean over an attribute's values; match_one: of the best single latent; match_above_untrained:
match less match_untrained, that of random directions of the SAE's width and L0 (`matched_random`), which go through the
same steps; a mean over draws, for two dictionaries of random directions differ by as much as trained ones.
tapa: +1 where the coalition of the new value begins to fire, +1 where that of the old one falls silent, -1 for either
the wrong way round; mean over pairs, from -2 to 2, 0 for an SAE that does not react. tapa_above_untrained: tapa less
tapa_untrained. leakage: share of coalitions of untouched attributes that change; as an SAE that
never fires leaks nothing, it means something beside a high tapa only.
Pairs: the project's own (ten attributes, the default), BLiMP's sets or swaps of RAVEL's entities (setting `pairs`); on
a world features switched off in a sample, where "absent" is no concept and tapa is at most 1.
It does not measure reconstruction, nor whether the model itself uses a latent: nothing is put back into the model.

Source: coalition matching, MATCHScore and TAPAScore, arXiv:2606.24716. Where we differ, and why:
- theirs are images that differ in one attribute, ours texts, whose codes are the largest over tokens;
- coalitions are scored on other texts than they are chosen on, with other words: wide SAEs fit small samples by chance;
- the control has the SAE's L0 as well as its size, for a code that fires more often matches more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from saebench_lite.activations.acts import Acts
from saebench_lite.activations.pooled_codes import Pooled
from saebench_lite.api import registered
from saebench_lite.api.baseline import DerivesSAE
from saebench_lite.api.card import Card
from saebench_lite.api.context import EvalContext
from saebench_lite.api.settings import Count, FileOrFolder, Settings
from saebench_lite.api.subject import Subject
from saebench_lite.api.task import Reading, Scores, Task
from saebench_lite.metrics.coalitions import coalition, f_beta, swap_scores, union
from saebench_lite.records.metric import Metric
from saebench_lite.saes.protocol import SAE
from saebench_lite.stats.seeds import derive_seed
from saebench_lite.tasks._minimal_pairs_sample import UNKNOWN
from saebench_lite.tasks._minimal_pairs_sources import Activated, Sizes, activated, tokens_of_pairs
from saebench_lite.tasks._world_truth import informed

_recovery = partial(Metric, construct="recovery", better="higher")
_floor = partial(Metric, construct="recovery", better="neither")

CARD = Card(
    name="minimal_pairs",
    version=1,
    description="do a concept's latents change where a text changes in that concept alone?",
    source="arXiv:2606.24716",
    headline=("match_above_untrained", "tapa_above_untrained"),
    metrics=(
        _recovery(name="match", meaning="F1 of a value's coalition of latents", lower_bound=0.0, upper_bound=1.0),
        _recovery(
            name="match_above_untrained",
            meaning="match less that of random directions of the same width and L0",
            lower_bound=-1.0,
            upper_bound=1.0,
            chance=0.0,
        ),
        _recovery(name="match_one", meaning="F1 of a value's best latent", lower_bound=0.0, upper_bound=1.0),
        _recovery(
            name="tapa",
            meaning="how surely an edit switches the new value's latents on and the old one's off",
            lower_bound=-2.0,
            upper_bound=2.0,
        ),
        _recovery(
            name="tapa_above_untrained",
            meaning="tapa less that of random directions of the same width and L0",
            lower_bound=-4.0,
            upper_bound=4.0,
            chance=0.0,
        ),
        _floor(name="match_untrained", meaning="match of random directions", lower_bound=0.0, upper_bound=1.0),
        _floor(name="tapa_untrained", meaning="tapa of random directions", lower_bound=-2.0, upper_bound=2.0),
        Metric(
            name="leakage",
            meaning="share of untouched attributes' coalitions that an edit changes",
            better="lower",
            lower_bound=0.0,
            upper_bound=1.0,
            construct="recovery",
        ),
    ),
    default=False,
)


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    pairs: FileOrFolder | None = None
    "BLiMP's folder, one of its .jsonl files or its archive, or RAVEL's folder; none: the project's own texts."
    match_texts: Count = 256
    "Texts on which latents are matched, at most (RAVEL: of each attribute; BLiMP: as many pairs as `pairs_each`)."
    pairs_each: Count = 32
    "Pairs of each attribute, at most."
    untrained: Count = 2
    "Draws of random directions of each seed; the figure of a single one is noisy."
    attributes: Count = 67
    "Attributes, at most (BLiMP has 67 sets); on a world, features."


def prepare(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> dict[int, Activated]:
    """Texts, labels and activations of each seed."""
    return {seed: activated(ctx, *_asked(cfg), seed) for seed in seeds}


def reads(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> Reading:
    """The texts of each seed."""
    return Reading(tokens_of_pairs(ctx, *_asked(cfg), seeds))


def _asked(cfg: Config) -> tuple[Path | None, Sizes]:
    return None if cfg.pairs is None else Path(cfg.pairs), (cfg.match_texts, cfg.pairs_each, cfg.attributes)


@torch.no_grad()
def evaluate(
    subject: Subject, ctx: EvalContext, shared: dict[int, Activated], cfg: Config, seeds: Sequence[int]
) -> Scores:
    """The figures of one SAE, attribute by attribute.

    Args:
        subject: an SAE.
        ctx: the site.
        shared: texts and activations, from `prepare`.
        cfg: settings of the task.
        seeds: of the repetitions.
    """
    sae, out = subject.require_sae(), Scores()
    way = registered.baseline("matched_random").method
    assert isinstance(way, DerivesSAE)
    picked = {}
    for seed, sample in shared.items():
        chosen, figures = _figures(_knowing(sae, sample), sample, ctx.memory)
        random = (way.derive(sae, ctx, derive_seed("minimal_pairs", seed, i)) for i in range(cfg.untrained))
        floors = [_figures(each, sample, ctx.memory)[1] for each in random]
        for place, attribute in enumerate(sample.attributes):
            for metric, value in figures[place].items():
                out.add(metric, value, unit=attribute.name, seed=seed)
            for metric in ("match", "tapa"):
                floor = float(np.mean([each[place][metric] for each in floors]))
                out.add(f"{metric}_untrained", floor, unit=attribute.name, seed=seed)
                above = figures[place][metric] - floor
                out.add(f"{metric}_above_untrained", above, unit=attribute.name, seed=seed)
        picked[str(seed)] = chosen
    texts = {str(seed): sample.texts for seed, sample in shared.items()}
    out.diagnostics = {"coalitions": picked, "texts": texts}
    return out


def _knowing(sae: SAE, sample: Activated) -> SAE:
    """The SAE; the oracle of a world with the samples whose features were switched off."""
    truth = sample.truth
    return sae if truth is None else informed(sae, sample.acts.x, lambda: truth)


def _fires(sae: SAE, acts: Acts, memory: int) -> Tensor:
    """Which latents have a code above 0 in which text. [texts, d_sae] bool, on the CPU"""
    return torch.cat([(t["max"] > 0).cpu() for _, t in Pooled(sae, acts, ["max"], memory).blocks()], 1)


def _figures(sae: SAE, sample: Activated, memory: int) -> tuple[dict[str, list[int]], list[dict[str, float]]]:
    """(latents of each concept, figures of each attribute) of an SAE."""
    fires, labels, pairs = _fires(sae, sample.acts, memory), torch.from_numpy(sample.labels), sample.pairs
    match, paired = torch.from_numpy(sample.match), torch.from_numpy(np.unique(pairs))
    concepts = [(a, v) for a, each in enumerate(sample.attributes) for v, name in enumerate(each.values) if name]
    unions, picked, scored = [], {}, []
    for a, v in concepts:
        known = match[labels[match, a] != UNKNOWN]
        y = labels[known, a] == v
        chosen = coalition(fires[known], y)
        one = [int(f_beta(fires[known], y, 1.0).argmax())]
        unions.append(union(fires, chosen))
        judged = paired[labels[paired, a] != UNKNOWN]
        both = torch.stack([unions[-1], union(fires, one)], 1)[judged]
        scored.append(f_beta(both, labels[judged, a] == v, 1.0))
        picked[f"{sample.attributes[a].name}: {sample.attributes[a].values[v]}"] = chosen
    moved = _swaps(torch.stack(unions, 1), labels, torch.from_numpy(pairs), concepts)
    figures = []
    for a in range(len(sample.attributes)):
        one_of = torch.stack([s for s, (attribute, _) in zip(scored, concepts, strict=True) if attribute == a]).mean(0)
        tapa, leakage = moved[a]
        figures.append({"match": one_of[0].item(), "match_one": one_of[1].item(), "tapa": tapa, "leakage": leakage})
    return picked, figures


def _swaps(unions: Tensor, labels: Tensor, pairs: Tensor, concepts: list[tuple[int, int]]) -> list[tuple[float, float]]:
    """(tapa, leakage) of each attribute, over the pairs that differ in it; NaN without any.

    Args:
        unions: whether each concept's coalition fires in each text. [texts, concepts]
        labels: of the texts. [texts, attributes]
        pairs: rows of the texts. [p, 2]
        concepts: (attribute, value) of each.
    """
    place = {concept: i for i, concept in enumerate(concepts)}
    first, second = labels[pairs[:, 0]], labels[pairs[:, 1]]
    known = (first != UNKNOWN) & (second != UNKNOWN)
    of = torch.tensor([a for a, _ in concepts])
    out = []
    for a in range(labels.shape[1]):
        differ = known[:, a] & (first[:, a] != second[:, a])
        adds, removes = (
            torch.tensor([place.get((a, v), -1) for v in side[differ, a].tolist()], dtype=torch.long)
            for side in (second, first)
        )
        still = (known & (first == second))[differ][:, of]
        tapa, leakage = swap_scores(unions, pairs[differ], adds, removes, still)
        out.append((tapa.mean().item(), leakage.nanmean().item()))
    return out


TASK = Task(CARD, Config, prepare, evaluate, reads=reads)
