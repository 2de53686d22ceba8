"""RAVEL on a world: entities are samples, an attribute is a set of features of which just one is on, its value.

A world has no prompts, so its readout is replaced by a planted one: asked about an attribute, it gives the value that
the linear discriminant of that attribute's values, fitted once on other samples, reads from the entity's activation.
Everything else, from what the model knows to the edits and the trained featurisers, is the code that texts go through.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from saebench_lite.api.context import EvalContext
from saebench_lite.data.types import LongTexts
from saebench_lite.errors import NotApplicable
from saebench_lite.files import digest
from saebench_lite.models.branches import Branches
from saebench_lite.models.protocol import Prefix
from saebench_lite.models.tokens import TokenBatch
from saebench_lite.saes.protocol import SAE
from saebench_lite.stats.seeds import derive_seed
from saebench_lite.tasks._ravel_files import SPLITS, Entities
from saebench_lite.tasks._world_truth import informed
from saebench_lite.worlds.model import WorldModel
from saebench_lite.worlds.toggle import frequent_heads, magnitudes, switched_off

KIND = "sample"
ATTRIBUTES, VALUES = 4, 4
"Of an entity, and of an attribute, at most; both are 2 at least."
FITTED = 4096
"Samples from which the readout is fitted."
IMPOSSIBLE = -1e4
"Logit of a token that is no value of the attribute asked about."


class EntityWorld(WorldModel):
    """A world that is asked about attributes; a text is "ENTITY SPLIT ATTRIBUTE", and what follows is a value.

    The activation at the entity is that of a sample; the other tokens carry none.
    """

    def __init__(self, model: WorldModel, count: int) -> None:
        """A world whose `count` entities of each split have attributes.

        Args:
            model: the world; its samples are left as they are.
            count: entities of each split.
        """
        self.__dict__.update(model.__dict__)
        heads = frequent_heads(model)
        attributes = max(2, min(ATTRIBUTES, len(heads) // VALUES))
        values = min(VALUES, len(heads) // attributes)
        if values < 2:
            raise NotApplicable(
                f"{model.name} has {len(heads)} frequent features without a parent, and two attributes of two values"
                " need 4"
            )
        self.sets = heads[: attributes * values].view(values, attributes).T
        "Features that are an attribute's values; those of a row are as frequent as those of another. [a, v]"
        self.truth, self.x, self.value = self._drawn(len(SPLITS) * count, "entities")
        entities = [f"entity{i}" for i in range(len(self.x))]
        names = [f"attribute{a}" for a in range(attributes)]
        self._words = {word: i for i, word in enumerate([*entities, *SPLITS, *names])}
        self._words |= {f"feature{f}": len(self._words) + i for i, f in enumerate(self.sets.flatten().tolist())}
        self.vocabulary, self.context = len(self._words), 4
        _, x, value = self._drawn(FITTED, "readout")
        read = [_discriminant(x, value[:, a], values) for a in range(attributes)]
        self._weight, self._bias = torch.cat([w for w, _ in read], 1), torch.cat([b for _, b in read])
        self.entities = self._entities(entities, names, count)

    def _drawn(self, n: int, what: str) -> tuple[Tensor, Tensor, Tensor]:
        """(true features [n, N], activations [n, d], places of values [n, a]) of entities, on the CPU."""
        world, (attributes, values) = self.world, self.sets.shape
        g = torch.Generator().manual_seed(derive_seed("ravel world", world.spec.seed, what))
        a = switched_off(world, world.features(n, "ravel", what).cpu(), self.sets.flatten())
        value = torch.randint(values, (n, attributes), generator=g)
        for place, features in enumerate(self.sets):
            on = features[value[:, place]]
            a[torch.arange(n), on] = magnitudes(world, on, g)
        return a, world.activations(a.to(world.device), "ravel", what).cpu(), value

    def _entities(self, names: Sequence[str], attributes: Sequence[str], count: int) -> Entities:
        """What RAVEL's files say, of these entities."""
        of = {
            name: {a: f"feature{self.sets[i, v]}" for i, (a, v) in enumerate(zip(attributes, row, strict=True))}
            for name, row in zip(names, self.value.tolist(), strict=True)
        }
        prompts = {a: [f"%s {split} {a}" for split in SPLITS] for a in attributes}
        split_of = {name: SPLITS[i // count] for i, name in enumerate(names)}
        asked = {p: split for listed in prompts.values() for p, split in zip(listed, SPLITS, strict=True)}
        content = digest(["ravel world", 1, self.fingerprint(), count, FITTED])
        return Entities(KIND, of, prompts, split_of, asked, content)

    def knowing(self, sae: SAE) -> SAE:
        """The SAE; an oracle that knows the entities too."""
        return informed(sae, self.x, lambda: self.truth)

    def tokenize(self, texts: Sequence[str], *, context: int | None, long_texts: LongTexts) -> list[list[int]]:
        """Ids of words."""
        return [[self._words[word] for word in text.split()] for text in texts]

    def batches(self, ids: Sequence[Sequence[int]], *, max_tokens: int) -> Iterator[tuple[list[int], TokenBatch]]:
        """(row numbers, batch) in the order of the texts, which are all of one length."""
        size = max(1, max_tokens // self.context)
        for low in range(0, len(ids), size):
            table = torch.tensor([list(row) for row in ids[low : low + size]], device=self.device)
            on = torch.ones_like(table, dtype=torch.bool)
            yield list(range(low, low + len(table))), TokenBatch(table, on, on)

    def collect(self, batch: TokenBatch | Branches, hooks: Sequence[str]) -> dict[str, Tensor]:
        """Activations {hook: [b, L, d]}: the entity's, and 0 behind it."""
        x = torch.zeros(*batch.ids.shape, self.width)
        x[:, 0] = self.x[batch.ids[:, 0].cpu()]
        return {hook: x.to(self.device) for hook in hooks}

    def logits(self, batch: TokenBatch) -> Tensor:
        """Logits [b, L, V] of the entities as they are."""
        prefix = self.prefix(batch, "")
        return self.logits_with(batch, prefix, prefix.acts, "")

    def logits_with(
        self, batch: TokenBatch, prefix: Prefix, replacement: Tensor, hook: str, *, gradients: bool = False
    ) -> Tensor:
        """Logits [b, L, V] that the entity's activation gives the values of the attribute asked about.

        Args:
            batch: the texts.
            prefix: the model up to the hook.
            replacement: what stands at the hook. [b, L, d]
            hook: where it stands.
            gradients: whether gradients flow back to the replacement.
        """
        with torch.set_grad_enabled(gradients):
            x = replacement[:, 0]
            read = (x @ self._weight.to(x) + self._bias.to(x)).view(len(x), *self.sets.shape)
            first = self.vocabulary - self.sets.numel() - len(self.sets)
            other = torch.arange(len(self.sets), device=x.device) != (batch.ids[:, 2, None] - first)
            read = read.masked_fill(other[..., None], IMPOSSIBLE).flatten(1)
            logits = torch.nn.functional.pad(read, (self.vocabulary - read.shape[1], 0), value=IMPOSSIBLE)
            return logits[:, None].expand(-1, batch.ids.shape[1], -1)


def _discriminant(x: Tensor, group: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Weights [d, groups] and biases [groups] of the linear discriminant of equally likely groups [n] of x [n, d]."""
    rows = x.double()
    means = torch.stack([rows[group == g].mean(0) for g in range(groups)])
    within = rows - means[group]
    covariance = within.T @ within / len(x)
    covariance.diagonal().add_(1e-6 * covariance.diagonal().mean())
    weight = torch.linalg.solve(covariance, means.T)
    return weight.float(), (-0.5 * (means * weight.T).sum(1)).float()


def answering(ctx: EvalContext, model: WorldModel, entities: int) -> tuple[EvalContext, Entities]:
    """The site with a world that is asked about entities in the place of the world, and what is true of them.

    Args:
        ctx: the site.
        model: its world.
        entities: of each split.
    """
    site, asked = copy.copy(ctx), EntityWorld(model, entities)
    site.lm = asked
    return site, asked.entities
