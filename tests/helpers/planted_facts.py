"""A model that knows the animals of `tiny_ravel`, and in which part of an activation each attribute lies."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace

import torch

from saebench_lite.models.protocol import Prefix
from saebench_lite.models.tokens import padded, rows_by_length
from tests.helpers.tiny_ravel import ANIMALS, PROMPTS, VALUES

D = 16


class PlantedFacts:
    """A token's activation is noise; an entity's is the sum of a direction for each of its attributes' values.

    The model reads the attribute from the prompt's words, and its value from the activation at the entity.
    """

    name, is_causal, tokenizer = "planted facts", True, object()
    device = torch.device("cpu")

    def __init__(self, facts: Mapping[str, Mapping[str, str]]):
        words = {w for listed in PROMPTS.values() for p in listed for w in p.split()}
        values = [v for listed in VALUES.values() for v in listed]
        self.ids = {w: i for i, w in enumerate(["<pad>", *sorted({*words, *ANIMALS, *values})])}
        self.vocabulary = len(self.ids)
        g = torch.Generator().manual_seed(0)
        directions = torch.linalg.qr(torch.randn(D, D, generator=g)).Q
        self.of = {v: directions[i] for i, v in enumerate(values)}
        self.spaces = {name: torch.stack([self.of[v] for v in listed], 1) for name, listed in VALUES.items()}
        own = 0.1 * torch.randn(len(ANIMALS), D - len(values), generator=g) @ directions[len(values) :]
        self.at = {self.ids[a]: own[i] + sum(self.of[v] for v in facts[a].values()) for i, a in enumerate(facts)}

    def hook_width(self, hook):
        return D

    def tokenize(self, texts, *, context, long_texts):
        return [[self.ids[w] for w in t.split()] for t in texts]

    def batches(self, ids, *, max_tokens):
        for rows in rows_by_length(ids, max_tokens):
            yield rows, padded([ids[i] for i in rows], 0, torch.tensor([0]), self.device)

    def collect(self, batch, hooks):
        noise = torch.arange(D) / D
        x = torch.stack([torch.stack([self.at.get(i, noise) for i in row]) for row in batch.ids.tolist()])
        return {hook: x for hook in hooks}

    def prefix(self, batch, hook):
        return Prefix(self.collect(batch, [hook])[hook], None)

    def logits(self, batch):
        prefix = self.prefix(batch, "planted")
        return self.logits_with(batch, prefix, prefix.acts, "planted")

    def logits_with(self, batch, prefix, replacement, hook, *, gradients=False):
        """Every position predicts the value of the attribute that its text names, from the text's entity."""
        rows = []
        for ids, x in zip(batch.ids.tolist(), replacement, strict=True):
            place = next(i for i, token in enumerate(ids) if token in self.at)
            attribute = "Colour" if self.ids["colour"] in ids else "Home"
            values = torch.tensor([self.ids[v] for v in VALUES[attribute]])
            logits = x.new_full((self.vocabulary,), -5.0).index_put((values,), 4 * x[place] @ self.spaces[attribute])
            rows.append(logits.expand(len(ids), -1))
        return torch.stack(rows)


def site(facts: Mapping[str, Mapping[str, str]]) -> SimpleNamespace:
    """A ctx on the model; its notes are in `notes`."""
    notes: list[str] = []
    lm = PlantedFacts(facts)
    ctx = SimpleNamespace(lm=lm, hook="planted", batch_tokens=400, device="cpu", d_in=D, memory=1 << 28, notes=notes)
    ctx.note, ctx.doing = notes.append, lambda what: None
    return ctx
