"""Questions about a world's samples: concepts made of true features, parents with their children, plain texts.

A text carries a concept if it holds at the text's last token; texts where it only holds earlier are left out, so mean,
last and max pooling all answer the same question. Kinds as in "Are Sparse Autoencoder Benchmarks Reliable?"
(arXiv:2605.18229): single features and ANDs or ORs of two or three, in reach (among the quarter of features that fire
most, the capacity of the dictionaries compared), out of it, or mixed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch

from saebench_lite.data.types import Corpus, Data, Labelled, Parents
from saebench_lite.stats.seeds import rng
from saebench_lite.worlds.model import BLOCK, WorldModel, text


@dataclass(frozen=True)
class ConceptKind:
    """Concepts of one make."""

    operation: Literal["and", "or"]
    "How the features are combined."
    frequent_parts: int
    "Features among the most frequent quarter."
    rare_parts: int
    "Features among the others."
    count: int
    "Concepts of this kind, at most."


KINDS = {
    "single_in": ConceptKind("or", 1, 0, 24),
    "single_out": ConceptKind("or", 0, 1, 16),
    "and_in": ConceptKind("and", 2, 0, 8),
    "or_in": ConceptKind("or", 2, 0, 8),
    "or_out": ConceptKind("or", 0, 2, 8),
    "and_mixed": ConceptKind("and", 1, 1, 4),
    "or_mixed": ConceptKind("or", 1, 1, 8),
}
"A name of the kind; `in` and `out`: within the capacity of the dictionaries compared, or beyond it."
MIN_TEXTS = 40
"Texts that carry a concept, and texts that do not, at least."


class Fired(NamedTuple):
    """Which features fired at which tokens, sorted by feature."""

    token: np.ndarray
    "[nonzeros]"
    start: np.ndarray
    "[N + 1]"

    def tokens(self, feature: int) -> np.ndarray:
        """Tokens at which a feature fires, sorted."""
        return self.token[self.start[feature] : self.start[feature + 1]]


def fired(model: WorldModel, texts: int) -> Fired:
    """Firing of all features over the first `texts` texts (a multiple of BLOCK)."""
    tokens, features = [], []
    for block in range(texts // BLOCK):
        token, feature = (model.features(block) > 0).nonzero(as_tuple=True)
        tokens.append(token.cpu() + block * BLOCK * model.tokens)
        features.append(feature.cpu())
    feature, token = torch.cat(features), torch.cat(tokens)
    order = feature.argsort(stable=True)
    counts = torch.bincount(feature, minlength=model.world.spec.features)
    start = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return Fired(token[order].numpy(), start.numpy())


def build(model: WorldModel, texts: int, kinds: Mapping[str, ConceptKind] = KINDS) -> Data:
    """Concepts of these kinds, parents and texts of a world: the first `texts` samples.

    A larger count of a kind adds concepts to those of a smaller one.
    """
    corpus = Corpus(f"{model.name} samples", tuple(text(i) for i in range(texts)))
    firing = fired(model, texts)
    concepts = tuple(_concepts(model, firing, corpus, kinds))
    plain = Corpus(f"{model.name} plain", corpus.texts[: max(BLOCK, texts // 4)])
    parents = tuple(_parents(model, firing, corpus))
    return Data(model.name, datasets=concepts, concepts=concepts, texts=(plain,), parents=parents)


def _concepts(model: WorldModel, firing: Fired, corpus: Corpus, kinds: Mapping[str, ConceptKind]) -> Iterator[Labelled]:
    n = model.world.spec.features
    by_rate = model.by_frequency.numpy()
    frequent, rare = by_rate[: n // 4], by_rate[n // 4 :]
    taken: set[tuple[str | int, ...]] = set()
    for name, kind in kinds.items():
        r = rng("concepts", model.world.spec.seed, name)
        made = 0
        for _ in range(200 * kind.count):
            if made == kind.count:
                break
            parts = (
                *r.choice(frequent, kind.frequent_parts, replace=False),
                *r.choice(rare, kind.rare_parts, replace=False),
            )
            key = (kind.operation, *sorted(int(p) for p in parts))
            if key in taken:
                continue
            labelled = _labelled(f"{name} {made}", kind.operation, tuple(key[1:]), firing, corpus, model.tokens)
            if labelled is not None:
                taken.add(key)
                made += 1
                yield labelled


def _labelled(
    name: str, operation: str, parts: tuple[int, ...], firing: Fired, corpus: Corpus, length: int
) -> Labelled | None:
    """The concept's question; None where it is too rare or holds at more than a third of the tokens.

    Args:
        name: of the concept.
        operation: how its parts are combined.
        parts: features.
        firing: of all features.
        corpus: the texts.
        length: tokens of a text.
    """
    tokens = firing.tokens(parts[0])
    for part in parts[1:]:
        combine = np.intersect1d if operation == "and" else np.union1d
        tokens = combine(tokens, firing.tokens(part))
    holds = np.zeros(len(corpus.texts) * length, dtype=bool)
    holds[tokens] = True
    by_text = holds.reshape(-1, length)
    positive = by_text[:, -1]
    absent = ~by_text.any(1)
    if min(positive.sum(), absent.sum()) < MIN_TEXTS or holds.mean() > 1 / 3:
        return None
    rows = np.flatnonzero(positive | absent)
    return Labelled(name, corpus, rows, positive[rows])


def _parents(model: WorldModel, firing: Fired, corpus: Corpus, most: int = 24) -> Iterator[Parents]:
    """Roots with children, at the last token of each text."""
    roots = model.world.spec.roots
    if not roots or not model.world.spec.depth:
        return
    length = model.tokens
    chosen = np.unique(np.linspace(0, roots - 1, min(most, roots)).round().astype(int))
    member = np.zeros((len(chosen), len(corpus.texts)), dtype=bool)
    for i, root in enumerate(chosen):
        tokens = firing.tokens(int(root))
        member[i, tokens[tokens % length == length - 1] // length] = True
    yield Parents("planted trees", corpus, tuple(f"root {r}" for r in chosen), member)
