"""Which latents unlearning suppresses: how often each fires on texts, the edits that are tried, and random ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from saebench_lite.activations.acts import Acts
from saebench_lite.activations.pooling import chunk_size
from saebench_lite.data.types import Corpus
from saebench_lite.metrics.unlearning import alike_in_rate, sparse_on_retain
from saebench_lite.saes.affine import AffineSAE, encoder_input_frame
from saebench_lite.saes.protocol import SAE, device_of, unwrapped
from saebench_lite.tasks._unlearning_edits import Edit

NEAREST = 20
"Latents nearest in firing rate, of which a random one is drawn."


class Firing(NamedTuple):
    """On how many tokens of texts each latent fires (code above 0). float64, CPU"""

    times: Tensor
    "[m]"
    tokens: int

    @property
    def rate(self) -> Tensor:
        """Share of tokens on which each fires. [m]"""
        return self.times / self.tokens


def firing_on(acts_of: Callable[[Corpus], Acts], sae: SAE, corpora: Iterable[Corpus], memory: int) -> dict[str, Firing]:
    """Firing on each distinct corpus, by fingerprint.

    Args:
        acts_of: activations of a corpus.
        sae: encodes them.
        corpora: texts.
        memory: bytes that bound the chunks.
    """
    device, out = device_of(sae), {}
    for fingerprint, corpus in {corpus.fingerprint: corpus for corpus in corpora}.items():
        times, acts = torch.zeros(sae.d_sae, dtype=torch.float64), acts_of(corpus)
        for part in acts.x.split(chunk_size(sae.d_sae, device, memory)):
            times += (sae.encode(part.to(device, torch.float32)) > 0).sum(0).double().cpu()
        out[fingerprint] = Firing(times, acts.tokens)
    return out


def total(firing: Mapping[str, Firing], corpora: Sequence[Corpus]) -> Firing:
    """Firing on several corpora together."""
    parts = [firing[corpus.fingerprint] for corpus in corpora]
    return Firing(torch.stack([part.times for part in parts]).sum(0), sum(part.tokens for part in parts))


def norm_units(acts_of: Callable[[Corpus], Acts], sae: SAE, decoder: Tensor, corpora: Iterable[Corpus]) -> Tensor:
    """The code at which each latent writes a vector of the mean norm of activations; 0 where it writes none. [m] CPU

    Args:
        acts_of: activations of a corpus.
        sae: of the latents.
        decoder: its rows. [m, d]
        corpora: texts whose activations are meant, as the SAE normalises them.
    """
    bare, total_norm, tokens = unwrapped(sae), 0.0, 0
    for corpus in {corpus.fingerprint: corpus for corpus in corpora}.values():
        x = acts_of(corpus).x.float()
        frame = encoder_input_frame(x, bare.normalize)[0] if isinstance(bare, AffineSAE) else x
        total_norm += frame.double().norm(dim=1).sum().item()
        tokens += len(x)
    norms = decoder.double().norm(dim=1).cpu()
    return torch.where(norms > 0, total_norm / tokens / norms, 0.0)


def edits(
    forget: Firing, retain: Firing, units: Tensor, most: float, sizes: Sequence[int], strengths: Sequence[float]
) -> list[Edit]:
    """The edits that are tried, gentler ones first.

    Args:
        forget: firing on texts to forget.
        retain: firing on texts to retain.
        units: as of `norm_units`. [m]
        most: share of tokens to retain below which a latent must fire.
        sizes: numbers of latents.
        strengths: norms, over that of activations, of what a latent writes once it is set below 0.
    """
    chosen = {n: sparse_on_retain(forget.rate, retain.rate, most, n) for n in sorted(set(sizes))}
    return [
        Edit(latents, -strength * units[latents], strength, n)
        for strength in sorted(set(strengths))
        for n, latents in chosen.items()
    ]


def random_edit(edit: Edit, forget: Firing, units: Tensor, generator: np.random.Generator) -> Edit:
    """The same edit, of the same norm, of other latents that fire as often on the texts to forget.

    Args:
        edit: what is done.
        forget: firing on texts to forget.
        units: as of `norm_units`. [m]
        generator: of the draws.
    """
    others = alike_in_rate(forget.rate.numpy(), edit.latents.numpy(), NEAREST, generator)
    latents = torch.from_numpy(others)
    return edit._replace(latents=latents, to=-edit.strength * units[latents])
