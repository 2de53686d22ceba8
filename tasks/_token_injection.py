"""What three tokens put into texts without a concept do to the latent chosen for it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from saebench_lite.metrics.illusions import injected_share
from saebench_lite.models.protocol import Model
from saebench_lite.saes.protocol import SAE, device_of, encode_latents

INJECTED = 3
"Tokens put into a text."


def strengths(lm: Model, hook: str, rows: Sequence[Sequence[int]], sae: SAE, latent: int) -> tuple[Tensor, Tensor]:
    """(maximum code of each text [n], (token, code) of each position that the site's rule reads [t, 2]), float64.

    Args:
        lm: the model.
        hook: where the SAE reads.
        rows: token ids of the texts.
        sae: the SAE.
        latent: index of the latent.
    """
    strongest, pairs = torch.zeros(len(rows), dtype=torch.float64), []
    device = device_of(sae)
    which = torch.tensor([latent], device=device)
    for places, batch in lm.batches(rows, max_tokens=4096):
        acts = lm.collect(batch, [hook])[hook]
        read = lm.positions(hook).read(batch.real, acts)
        codes = encode_latents(sae, acts[read].to(device, torch.float32), which)[:, 0].double().cpu()
        table = torch.full(read.shape, -torch.inf, dtype=torch.float64)
        table[read.cpu()] = codes
        strongest[torch.tensor(places)] = table.amax(1)
        pairs.append(torch.stack([batch.ids[read].cpu().double(), codes], 1))
    return strongest, torch.cat(pairs)


def strongest_tokens(pairs: Tensor, most: int) -> list[int]:
    """The tokens with the largest mean code, at most `most`; of equals the lower id. pairs [t, 2]: token, code"""
    tokens, place = pairs[:, 0].long().unique(return_inverse=True)
    sums = torch.zeros(len(tokens), dtype=torch.float64).index_add_(0, place, pairs[:, 1])
    means = sums / torch.bincount(place)
    return tokens[means.argsort(descending=True, stable=True)[:most]].tolist()


def injected(row: Sequence[int], tokens: Sequence[int], special: set[int]) -> list[int]:
    """A text's token ids with the tokens in the place of evenly spaced ones that are not special."""
    out, real = list(row), [i for i, token in enumerate(row) if token not in special]
    for i, token in enumerate(tokens[: len(real)]):
        out[real[(2 * i + 1) * len(real) // (2 * min(len(tokens), len(real)))]] = token
    return out


def token_share(
    lm: Model, hook: str, sae: SAE, latent: int, shown: Sequence[str], concept: Sequence[str], neutral: Sequence[str]
) -> tuple[float, list[int]]:
    """(share of the latent's mean strength on `concept` over `neutral` texts that the tokens reproduce, the tokens).

    Args:
        lm: the model.
        hook: where the SAE reads.
        sae: the SAE.
        latent: index of the latent.
        shown: texts of the concept from which the tokens are taken.
        concept: other texts of the concept.
        neutral: texts without the concept.
    """
    told = [lm.tokenize(texts, context=lm.context, long_texts="cut_right") for texts in (shown, concept, neutral)]
    tokens = strongest_tokens(strengths(lm, hook, told[0], sae, latent)[1], INJECTED)
    special = set(lm.special.tolist())
    changed = [injected(row, tokens, special) for row in told[2]]
    means = (strengths(lm, hook, rows, sae, latent)[0].mean().item() for rows in (changed, told[2], told[1]))
    return injected_share(*means), tokens
