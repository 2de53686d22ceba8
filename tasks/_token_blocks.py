"""A sample of activations in blocks of neighbouring texts, for tasks whose figures are sums over tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from saebench_lite.activations.acts import Acts
from saebench_lite.api.context import EvalContext
from saebench_lite.data.sampling import even_texts
from saebench_lite.data.types import Corpus
from saebench_lite.errors import NotApplicable


@dataclass(frozen=True)
class TokenBlocks:
    """Activations of texts, and which texts make a block."""

    acts: Acts
    bounds: list[int]
    "First text of each block, and the number of texts."
    corpus: Corpus | None = None
    "The corpus that this is all of; None for a part of one, or for several."

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        """Name and activations [t, d] of each block."""
        offsets = self.acts.offsets
        for block, (low, high) in enumerate(pairwise(self.bounds)):
            yield f"block {block}", self.acts.x[offsets[low] : offsets[high]]


def token_blocks(ctx: EvalContext, max_tokens: int, blocks: int) -> TokenBlocks:
    """Texts evenly spaced over each of the corpora, in blocks; NotApplicable where the data have no texts.

    Args:
        ctx: the site.
        max_tokens: of the sample, over all corpora.
        blocks: at most; fewer where there are fewer texts.
    """
    if not ctx.data.texts:
        raise NotApplicable(f"data source {ctx.data.name!r} has no texts")
    budget = max_tokens // len(ctx.data.texts)
    parts = [ctx.acts(corpus) for corpus in ctx.data.texts]
    parts = [acts.take(even_texts(acts.offsets.diff().numpy(), budget)) for acts in parts]
    lengths = torch.cat([p.offsets.diff() for p in parts])
    acts = Acts(torch.cat([p.x for p in parts]), torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]))
    bounds = np.unique(np.linspace(0, len(acts), min(blocks, len(acts)) + 1).round().astype(int)).tolist()
    whole = len(parts) == 1 and acts.tokens == ctx.acts(ctx.data.texts[0]).tokens
    return TokenBlocks(acts, bounds, ctx.data.texts[0] if whole else None)
