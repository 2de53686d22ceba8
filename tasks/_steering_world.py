"""Steering of a world: a concept is a feature, and what the world writes is drawn from its own readout.

A text of a concept is a row of samples in each of which the feature is switched on, beside rows in none of which it
fires; each sample writes one token. Prompts are rows of other samples without any of the concepts: the direction is
added to their activations. Nothing that was written is read again, so a text is as long as a continuation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from saebench_lite.activations.acts import Acts
from saebench_lite.activations.pooled_codes import Pooled
from saebench_lite.api.context import EvalContext
from saebench_lite.data.types import Corpus, Labelled
from saebench_lite.errors import NotApplicable
from saebench_lite.metrics.steering import degenerate, output_score
from saebench_lite.models.generation import drawn
from saebench_lite.saes.protocol import SAE
from saebench_lite.stats.seeds import derive_seed, rng
from saebench_lite.tasks._steering_figures import LENS, Concept, Outcome
from saebench_lite.tasks._world_truth import informed
from saebench_lite.worlds.model import WorldModel
from saebench_lite.worlds.toggle import family, frequent_heads, magnitudes, switched_off

POSITIVE, NEGATIVE = 600, 1200
"Labelled texts of a concept."
BLOCK = 200
"Texts that are drawn together; the classes are whole blocks."


@dataclass(frozen=True)
class WorldWriter:
    """A world that continues rows of its samples; a `Writer`."""

    ctx: EvalContext
    model: WorldModel
    pool: Tensor
    "True features of the samples of which labelled texts are made, sparse. [texts * n, N]"
    pool_x: Tensor
    "Their activations. [texts * n, d]"
    features: dict[str, int]
    "{name of a concept's corpus: its feature}"
    prompts: Tensor
    "Activations of the prompts. [p, n, d]"
    uniform: Tensor
    "Random numbers of what is written. [p, n]"
    temperature: float
    seed: int

    device = "cpu"

    @property
    def count(self) -> int:
        """Prompts."""
        return len(self.prompts)

    @property
    def chosen_on(self) -> int:
        """Prompts that choose the strength."""
        return len(self.prompts) // 2

    def texts(self, feature: int) -> tuple[Tensor, Tensor]:
        """(activations [texts * n, d], magnitudes put on [texts * n]) of a concept's texts, positives first."""
        world, n = self.model.world, self.uniform.shape[1]
        gone = family(world, torch.tensor([feature])).nonzero()[:, 0]
        taken = self.pool.index_select(1, gone).to_dense() @ world.directions.cpu()[gone]
        on = torch.zeros(len(self.pool_x))
        g = torch.Generator().manual_seed(derive_seed("steering world", self.seed, feature))
        on[: POSITIVE * n] = magnitudes(world, torch.full((POSITIVE * n,), feature), g)
        return self.pool_x - taken + on[:, None] * world.directions.cpu()[feature], on

    def acts(self, corpus: Corpus) -> Acts:
        """Activations of a concept's texts."""
        n = self.uniform.shape[1]
        return Acts(self.texts(self.features[corpus.name])[0], torch.arange(0, len(self.pool_x) + 1, n))

    def pooled(self, sae: SAE, corpus: Corpus) -> Pooled:
        """Largest codes of a concept's texts."""
        feature, acts = self.features[corpus.name], self.acts(corpus)
        return Pooled(informed(sae, acts.x, lambda: self.truth(feature)), acts, ["max"], self.ctx.memory)

    def truth(self, feature: int) -> Tensor:
        """True features of a concept's texts, sparse. [texts * n, N]"""
        (row, column), size = self.pool.indices(), self.pool.values()
        kept, on = ~family(self.model.world, torch.tensor([feature]))[column], self.texts(feature)[1]
        where = on.nonzero()[:, 0]
        added = torch.stack([where, torch.full_like(where, feature)])
        indices = torch.cat([torch.stack([row[kept], column[kept]]), added], 1)
        return torch.sparse_coo_tensor(
            indices, torch.cat([size[kept], on[where]]), self.pool.shape, check_invariants=True
        )

    def written(self, x: Tensor, uniform: Tensor) -> Tensor:
        """Token ids [...] that activations x [..., d] write by uniform numbers [...]."""
        logits = self.model.to_logits(x).flatten(0, -2)
        return drawn(logits, uniform.flatten(), self.temperature).view(uniform.shape)

    def outcome(self, ids: Tensor) -> Outcome:
        """What token ids [s, p, n] that stand behind the prompts come to."""
        log_p = self.model.to_logits(self.prompts).double().log_softmax(-1)
        nll = -log_p.expand(len(ids), -1, -1, -1).gather(-1, ids[..., None])[..., 0].mean(-1)
        return Outcome(words(ids.flatten(0, 1)), nll, degenerate(ids))

    def steered(self, directions: Tensor, sizes: Tensor) -> list[Outcome]:
        """The outcome of each direction.

        Args:
            directions: of norm 1. [k, d]
            sizes: norms at which they are added. [s]
        """
        uniform = self.uniform.expand(len(sizes), -1, -1)
        added = (sizes[:, None] * v.cpu() for v in directions)
        return [self.outcome(self.written(self.prompts + a[:, None, None], uniform)) for a in added]

    def prompted(self, concept: Concept) -> Outcome:
        """The outcome of the prompts with the feature switched on in their samples: what the cause itself does."""
        feature, (p, n) = self.features[concept.labelled.corpus.name], self.uniform.shape
        g = torch.Generator().manual_seed(derive_seed("steering world prompts", self.seed, feature))
        size = magnitudes(self.model.world, torch.full((p * n,), feature), g).view(1, p, n, 1)
        x = self.prompts + size * self.model.world.directions.cpu()[feature]
        return self.outcome(self.written(x, self.uniform[None]))

    def output_scores(self, directions: Tensor, size: float) -> Tensor:
        """Output score of directions [k, d] of norm 1, added with a size to the prompts' first samples: mean. [k]"""
        out = []
        for v in directions.cpu():
            logits = self.model.to_logits(self.prompts[:, 0] + size * v)
            lens = (self.model.to_logits(v) - self.model.to_logits(torch.zeros_like(v))).topk(LENS).indices
            out.append(output_score(logits.softmax(-1), lens.expand(len(logits), -1)).mean())
        return torch.stack(out)


def words(ids: Tensor) -> list[str]:
    """Texts of rows of token ids [t, n], a word a token."""
    return [" ".join(f"t{i}" for i in row) for row in ids.tolist()]


def world_writer(
    ctx: EvalContext, model: WorldModel, concepts: int, prompts: int, written: int, temperature: float, seed: int
) -> tuple[WorldWriter, Sequence[Labelled]]:
    """A world that writes, and its labelled texts: one data set for each concept.

    Args:
        ctx: the site.
        model: its world.
        concepts: features at most, evenly spaced among the frequent ones that no other has to fire for.
        prompts: rows of samples that directions are added to.
        written: tokens of a text.
        temperature: of sampling.
        seed: of all draws.
    """
    world, heads = model.world, frequent_heads(model)
    if not len(heads):
        raise NotApplicable(f"{model.name} has no frequent feature without a parent")
    chosen = heads[np.unique(np.linspace(0, len(heads) - 1, min(concepts, len(heads))).round().astype(int))]
    names = {f"feature {f}": f for f in chosen.tolist()}
    pools, parts = [], []
    for i in range((POSITIVE + NEGATIVE) // BLOCK):
        a = world.features(BLOCK * written, "steering", seed, i)
        pools.append(a.cpu().to_sparse())
        parts.append(world.activations(a, "steering", seed, i).cpu())
    pool, x = torch.cat(pools).coalesce(), torch.cat(parts)
    neutral = switched_off(world, world.features(prompts * written, "steering prompts", seed), chosen)
    openings = world.activations(neutral, "steering prompts", seed).cpu().view(prompts, written, -1)
    uniform = torch.from_numpy(np.stack([rng("steering chance", seed, i).random(written) for i in range(prompts)]))
    writer = WorldWriter(ctx, model, pool, x, names, openings, uniform, temperature, seed)
    datasets, positive = [], np.arange(POSITIVE + NEGATIVE) < POSITIVE
    for name, feature in names.items():
        chance = torch.from_numpy(rng("steering texts", seed, feature).random((len(positive), written)))
        ids = writer.written(writer.texts(feature)[0].view(*chance.shape, -1), chance)
        datasets.append(Labelled(name, Corpus(name, tuple(words(ids))), np.arange(len(positive)), positive))
    return writer, datasets
