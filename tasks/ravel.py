"""RAVEL: does swapping an attribute's latents between two entities change that attribute alone?

A base prompt asks about an attribute of an entity ("Paris is in the country of"). At the entity's last token the part
of the activation that stands for attribute A is replaced by that of a source entity, and the model goes on.
cause: share of prompts about A that then have the source's value; isolate: share of prompts about other attributes that
keep the base's value; each first averaged over prompts, isolate then over the other attributes; disentangle: their
mean, .5 where nothing is edited (isolate 1) or everything (cause 1). An answer counts if all of its tokens are the most
likely ones.
An SAE's part: codes of the k latents with the largest share of variance between values of A on entities of the train
split, k being what serves best on the val split; its error stays the base's, so that no edit is no change. Scores are
of the test split of entities and of prompts. Prompts whose answer the model does not know are left out and counted, and
with them attributes of which too few remain (diagnostics `known` and a note).
Beside it, the same in each row: disentangle_random, a random subspace; disentangle_pca, principal components chosen as
the latents are; disentangle_diff_in_means, the span of differences of the values' means; disentangle_dbm, neurons of a
trained binary mask; disentangle_das, a trained subspace (distributed alignment search), the supervised ceiling.
On a world, which takes no folder, entities are samples: an attribute is a set of four frequent features, of which just
one is on in a sample, its value. Asked about an attribute, a planted readout (the linear discriminant of its values,
fitted on other samples) answers from the activation; all else is the same, and an oracle disentangles all of it.
It does not measure whether one latent alone stands for an attribute, nor what the model does not know.

Source: RAVEL, Huang et al., arXiv:2402.17700; SAEBench, arXiv:2503.09532; DAS, Geiger et al., arXiv:2303.02536; DBM:
De Cao et al., arXiv:2202.06612. Where we differ, and why:
- SAEBench pairs entities and prompts at random; here the official splits of both stay apart;
- SAEBench trains a mask over latents through the model, an hour of a GPU; here latents are ranked without the model;
- SAEBench leaves the SAE's error out of the edit, so that reconstruction is scored too;
- pairs whose answers begin with the same token are left out: they would count for both sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from saebench_lite.api.card import Card
from saebench_lite.api.context import EvalContext
from saebench_lite.api.settings import Count, FileOrFolder, Settings
from saebench_lite.api.subject import Subject
from saebench_lite.api.task import Reading, Scores, Task
from saebench_lite.errors import NotApplicable
from saebench_lite.metrics.interchange import Disentangle
from saebench_lite.records.metric import Metric
from saebench_lite.saes.protocol import device_of
from saebench_lite.tasks._ravel_featurisers import best, latent_edit, ranked_by_group
from saebench_lite.tasks._ravel_files import HOW, Entities, read_entities
from saebench_lite.tasks._ravel_sites import Attribute, Sizes, attributes_of, scored, tokens_of_swaps
from saebench_lite.tasks._ravel_world import EntityWorld, answering
from saebench_lite.worlds.model import WorldModel

_share = partial(Metric, lower_bound=0.0, upper_bound=1.0)
_beside = partial(_share, construct="causal_effect", better="neither", chance=0.5)

CARD = Card(
    name="ravel",
    version=1,
    description="does swapping an attribute's latents between two entities change that attribute alone?",
    source="RAVEL, arXiv:2402.17700",
    headline=("disentangle", "cause", "isolate"),
    metrics=(
        _share(
            name="disentangle",
            meaning="mean of cause and isolate; no edit has 0.5",
            better="higher",
            chance=0.5,
            construct="causal_effect",
        ),
        _share(
            name="cause",
            meaning="swaps after which the model gives the source's value",
            better="higher",
            construct="causal_effect",
        ),
        _share(
            name="isolate",
            meaning="swaps that leave the base's value of another attribute",
            better="higher",
            construct="causal_effect",
        ),
        _beside(name="disentangle_random", meaning="disentangle of a random subspace"),
        _beside(name="disentangle_pca", meaning="disentangle of principal components"),
        _beside(name="disentangle_diff_in_means", meaning="disentangle of the span of mean differences"),
        _beside(name="disentangle_dbm", meaning="disentangle of a trained mask over neurons"),
        _beside(name="disentangle_das", meaning="disentangle of a trained subspace, the supervised ceiling"),
    ),
    requires_next_token=True,
    default=False,
)


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    folder: FileOrFolder | None = None
    "RAVEL's folder of ravel_*.json files (or its parent); the task needs one, but for a world."
    kinds: tuple[str, ...] = ("city",)
    "Types of entity; the published set has city, nobel_prize_winner, occupation, physical_object and verb."
    entities: Count = 120
    "Entities asked about, of each attribute and split, at most (the published set has up to 3,552)."
    trials: Count = 24
    "Swaps of each attribute and split that should change the answer, and as many that should not (SAEBench: 5,000)."
    fewest: Count = 6
    "An attribute with fewer swaps of either sort in a split is left out."
    latents: tuple[Count, ...] = (4, 16, 64, 256)
    "Numbers of latents, and of principal components, among which the val split chooses."
    dimensions: Count = 32
    "Dimensions of the trained and of the random subspace."
    steps: Count = 30
    "Training steps of the mask and of the trained subspace, 8 swaps each."


Shared = dict[int, list[Attribute]]
"Attributes that the model knows, by seed."


def prepare(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> Shared:
    """Facts that the model knows, swaps, and the scores of what stands beside the SAE."""
    sizes = _sizes(cfg)
    if isinstance(ctx.lm, WorldModel):
        if cfg.folder is not None:
            raise NotApplicable(f"{ctx.lm.name} reads no words; leave ravel.folder out to ask about its features")
        site, entities = answering(ctx, ctx.lm, cfg.entities)
        return attributes_of(site, [entities], sizes, seeds)
    if cfg.folder is None:
        raise NotApplicable(f"ravel needs a folder of RAVEL's files: {HOW} with --set ravel.folder=FOLDER")
    if ctx.lm.tokenizer is None or not ctx.lm.is_causal:
        raise NotApplicable(f"{ctx.lm.name} predicts no words")
    return attributes_of(ctx, _entities(cfg.folder, cfg.kinds), sizes, seeds)


def _entities(folder: str, kinds: Sequence[str]) -> list[Entities]:
    return [read_entities(Path(folder), kind) for kind in kinds]


def _sizes(cfg: Config) -> Sizes:
    return Sizes(cfg.entities, cfg.trials, cfg.fewest, cfg.latents, cfg.dimensions, cfg.steps)


def reads(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> Reading:
    """Questions about entities, training of featurisers and swaps, did the model know every attribute."""
    if cfg.folder is None or ctx.lm.tokenizer is None:
        return Reading()
    return Reading(*tokens_of_swaps(ctx, _entities(cfg.folder, cfg.kinds), _sizes(cfg), len(seeds)))


@torch.no_grad()
def evaluate(subject: Subject, ctx: EvalContext, shared: Shared, cfg: Config, seeds: Sequence[int]) -> Scores:
    """The figures of one SAE, attribute by attribute.

    Args:
        subject: an SAE that writes what it reads.
        ctx: the site.
        shared: swaps, from `prepare`.
        cfg: settings of the task.
        seeds: of the repetitions.
    """
    bare, out = subject.require_autoencoder(), Scores()
    out.diagnostics = {"latents": {}, "known": {}, "beside": {}, "files": {}}
    device = device_of(bare)
    for seed, attributes in shared.items():
        for each in attributes:
            sae = each.at.lm.knowing(bare) if isinstance(each.at.lm, EntityWorld) else bare
            ranked = ranked_by_group(sae.encode(each.x.to(device)), each.group.to(device))
            numbers = [k for k in cfg.latents if k <= sae.d_sae] or [sae.d_sae]
            edits = [latent_edit(sae, ranked[:k]) for k in numbers]
            chosen = best(edits, lambda edit, each=each: scored(each.at, each.val, edit).disentangle)
            _add(out, each, scored(each.at, each.test, edits[chosen]), seed)
            out.diagnostics["latents"][f"{each.name}, seed {seed}"] = ranked[: numbers[chosen]].tolist()
            out.diagnostics["files"][each.name] = each.files
            out.diagnostics["known"][f"{each.name}, seed {seed}"] = each.known
            beside = {name: [round(v, 4) for v in result] for name, result in each.beside.items()}
            out.diagnostics["beside"][f"{each.name}, seed {seed}"] = beside
    return out


def _add(out: Scores, attribute: Attribute, result: Disentangle, seed: int) -> None:
    """Adds the figures of an attribute and of what stands beside them.

    Args:
        out: gets them.
        attribute: with the scores of other featurisers.
        result: of the SAE.
        seed: of the draw.
    """
    out.add("disentangle", result.disentangle, unit=attribute.name, seed=seed, error=result.error)
    out.add("cause", result.cause, unit=attribute.name, seed=seed)
    out.add("isolate", result.isolate, unit=attribute.name, seed=seed)
    for name, other in attribute.beside.items():
        out.add(f"disentangle_{name}", other.disentangle, unit=attribute.name, seed=seed, error=other.error)


TASK = Task(CARD, Config, prepare, evaluate, reads=reads)
