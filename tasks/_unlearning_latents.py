"""Which latents unlearning suppresses: how often each fires on texts, the edits that are tried, and random ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from saebench_lite.activations.pooling import chunk_size
from saebench_lite.api.context import EvalContext
from saebench_lite.data.types import Corpus
from saebench_lite.metrics.unlearning import alike_in_rate, sparse_on_retain
from saebench_lite.saes.protocol import SAE, device_of
from saebench_lite.tasks._unlearning_edits import Edit

NEAREST = 20
"Latents nearest in firing rate, of which a random one is drawn."


class Firing(NamedTuple):
    """On how many tokens of texts each latent fires (code above 0), and the sum of its codes there. float64, CPU"""

    times: Tensor
    "[m]"
    codes: Tensor
    "[m]"
    tokens: int

    @property
    def rate(self) -> Tensor:
        """Share of tokens on which each fires. [m]"""
        return self.times / self.tokens

    @property
    def mean(self) -> Tensor:
        """Mean code where it fires, 0 where it never does. [m]"""
        return self.codes / self.times.clamp(min=1)


def firing_on(ctx: EvalContext, sae: SAE, corpora: Iterable[Corpus]) -> dict[str, Firing]:
    """Firing on each distinct corpus, by fingerprint."""
    device, out = device_of(sae), {}
    for fingerprint, corpus in {corpus.fingerprint: corpus for corpus in corpora}.items():
        times, codes = torch.zeros(2, sae.d_sae, dtype=torch.float64)
        acts = ctx.acts(corpus)
        for part in acts.x.split(chunk_size(sae.d_sae, device, ctx.memory)):
            positive = sae.encode(part.to(device, torch.float32)).clamp(min=0)
            times += (positive > 0).sum(0).double().cpu()
            codes += positive.sum(0, dtype=torch.float64).cpu()
        out[fingerprint] = Firing(times, codes, acts.tokens)
    return out


def total(firing: Mapping[str, Firing], corpora: Sequence[Corpus]) -> Firing:
    """Firing on several corpora together."""
    parts = [firing[corpus.fingerprint] for corpus in corpora]
    times, codes = (torch.stack(listed).sum(0) for listed in ([p.times for p in parts], [p.codes for p in parts]))
    return Firing(times, codes, sum(part.tokens for part in parts))


def edits(forget: Firing, retain: Firing, most: float, sizes: Sequence[int], strengths: Sequence[float]) -> list[Edit]:
    """The edits that are tried, gentler ones first.

    Args:
        forget: firing on texts to forget.
        retain: firing on texts to retain.
        most: share of tokens to retain below which a latent must fire.
        sizes: numbers of latents.
        strengths: by how many times its mean code a latent is set below 0.
    """
    chosen = {n: sparse_on_retain(forget.rate, retain.rate, most, n) for n in sorted(set(sizes))}
    return [
        Edit(latents, -strength * forget.mean[latents], strength, n)
        for strength in sorted(set(strengths))
        for n, latents in chosen.items()
    ]


def random_edit(edit: Edit, forget: Firing, generator: np.random.Generator) -> Edit:
    """The same edit of other latents that fire as often on the texts to forget, each by its own mean code.

    Args:
        edit: what is done.
        forget: firing on texts to forget.
        generator: of the draws.
    """
    others = alike_in_rate(forget.rate.numpy(), edit.latents.numpy(), NEAREST, generator)
    latents = torch.from_numpy(others)
    return edit._replace(latents=latents, to=-edit.strength * forget.mean[latents])
