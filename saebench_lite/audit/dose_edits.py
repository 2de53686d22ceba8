"""Faults planted into an oracle in doses: edits of its codes and of its decoder, everything else fixed.

The dictionary that is edited is the oracle (the features that fire most, with their true activations and directions)
beside spare latents, half as many. These fire at random tokens, with a quarter of the oracle's L0 together, and have
decoder rows so short that they write nothing. An edit that adds or removes firings takes or gives as many in spare
latents that it does not use otherwise, so that L0 stays what it was; only `dense`, `leak` and `norm_detecting` change
it, whose fault is to fire everywhere. A larger dose contains the smaller ones. All edits are pure functions of
dictionary, dose and seed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from saebench_lite.stats.seeds import rng

GRID = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
"Doses."
SPARE = 0.5
"Spare latents for each latent of the oracle."
SPARE_L0 = 0.25
"L0 of all spare latents as a share of the oracle's."
WRITTEN = 1e-3
"Norm of a spare latent's decoder row; the oracle's have norm 1."
RESERVE = 0.25
"Share of the spare latents that an edit leaves to even out L0."
DENSE = 0.25
"Share of the spare latents that fire everywhere at dose 1 of `dense` and of `norm_detecting`."
LEAK = 1e-6
"Code of a leaking latent where it would be 0."
ANGLE = math.pi / 3
"Angle by which `noisy` turns directions at dose 1."


@dataclass(frozen=True, kw_only=True)
class Dictionary:
    """Codes of all samples, and a decoder."""

    codes: Tensor
    "[samples, d_sae] float32, 0 where silent"
    decoder: Tensor
    "[d_sae, d]"
    features: Tensor
    "True feature of each planted latent; the latents behind them are spare. [planted]"
    parent: Tensor
    "Parent of each true feature, -1 where there is none. [N]"
    norms: Tensor
    "Norms of the activations without their noise. [samples]"

    @property
    def planted(self) -> int:
        """Number of latents that stand for a true feature."""
        return len(self.features)

    def spare(self, share: float = 1.0) -> np.ndarray:
        """The last spare latents, that share of them. [n]"""
        width = len(self.decoder)
        return np.arange(width - math.ceil(share * (width - self.planted)), width)


Edit = Callable[[Dictionary, float, int], Dictionary]
"(dictionary, dose in [0, 1], seed) -> the dictionary with that dose of a fault."


def with_spare(
    codes: Tensor, decoder: Tensor, features: Tensor, parent: Tensor, norms: Tensor, seed: int
) -> Dictionary:
    """The dictionary that is edited: planted latents and spare ones.

    Args:
        codes: true activations of the features in the dictionary. [samples, planted]
        decoder: their directions. [planted, d]
        features: which features they are. [planted]
        parent: parent of each true feature of the world, -1 for none. [N]
        norms: of the activations without their noise. [samples]
        seed: of the spare latents' firings and directions.
    """
    samples, planted = codes.shape
    spare, r = round(SPARE * planted), rng("spare latents", seed)
    rows = torch.from_numpy(r.standard_normal((spare, decoder.shape[1]))).float()
    wide = Dictionary(
        codes=torch.cat([codes, torch.zeros(samples, spare)], 1),
        decoder=torch.cat([decoder, WRITTEN * torch.nn.functional.normalize(rows, dim=1)]),
        features=features,
        parent=parent,
        norms=norms,
    )
    _fire_at_random(wide.codes, wide.spare(), round(SPARE_L0 * int((codes > 0).sum())), r)
    return wide


def missing(base: Dictionary, dose: float, seed: int) -> Dictionary:
    """A share of the planted latents fires on noise: as often and as strongly as before, at random tokens, and writes
    a random direction. L0 is the same latent by latent.
    """
    r = rng("missing", seed)
    codes, decoder = base.codes.clone(), base.decoder.clone()
    chosen = r.permutation(base.planted)[: round(dose * base.planted)]
    noise = _unit(r, base.planted, decoder.shape[1])
    for latent in chosen:
        order = rng("missing", seed, int(latent)).permutation(len(codes))
        codes[:, latent] = codes[order, latent]
    decoder[chosen] = noise[chosen]
    return dataclasses.replace(base, codes=codes, decoder=decoder)


def merged(base: Dictionary, dose: float, seed: int) -> Dictionary:
    """In a share of the pairs of latents with neighbouring firing rates one latent stands for both features.

    Its direction is the normalised sum, its code the projection on it, (a + b) / sqrt(2) for orthogonal directions.
    The other latent becomes a spare one; L0 is evened out in the spare latents.
    """
    r = rng("merged", seed)
    codes, decoder = base.codes.clone(), base.decoder.clone()
    pairs = base.planted // 2
    first = 2 * r.permutation(pairs)[: round(dose * pairs)]
    second = first + 1
    codes[:, first] = (codes[:, first] + codes[:, second]) / math.sqrt(2)
    decoder[first] = torch.nn.functional.normalize(decoder[first] + decoder[second], dim=1)
    decoder[second] = WRITTEN * _unit(r, base.planted, decoder.shape[1])[second]
    codes[:, second] = 0.0
    each = int((base.codes[:, base.spare()] > 0).sum()) // len(base.spare())
    for latent in second:
        _fire_at_random(codes, np.array([latent]), each, rng("merged", seed, int(latent)))
    return _evened(dataclasses.replace(base, codes=codes, decoder=decoder), base, base.spare(), seed)


def noisy(base: Dictionary, dose: float, seed: int) -> Dictionary:
    """Directions turned by dose * 60 degrees, each towards a random one orthogonal to it, and noise in detection: of
    every planted latent a share 1 - cos(angle) of its firings moves to random tokens. L0 is the same latent by latent.
    """
    angle = dose * ANGLE
    codes, decoder = base.codes.clone(), base.decoder.clone()
    planted = decoder[: base.planted]
    noise = _unit(rng("noisy", seed), base.planted, decoder.shape[1])
    aside = noise - (noise * planted).sum(1, keepdim=True) * planted
    decoder[: base.planted] = math.cos(angle) * planted + math.sin(angle) * torch.nn.functional.normalize(aside, dim=1)
    for latent in range(base.planted):
        r = rng("noisy", seed, latent)
        fires = base.codes[:, latent].numpy() > 0
        on, off = r.permutation(np.flatnonzero(fires)), r.permutation(np.flatnonzero(~fires))
        moved = min(round((1 - math.cos(angle)) * len(on)), len(off))
        codes[off[:moved], latent] = base.codes[on[:moved], latent]
        codes[on[:moved], latent] = 0.0
    return dataclasses.replace(base, codes=codes, decoder=decoder)


def split(base: Dictionary, dose: float, seed: int) -> Dictionary:
    """Each firing of some planted latents goes by lot to them or to a second latent of the same direction.

    At dose 1 there are as many as there are spare latents without the reserve, which take over the firings at random
    of the spare latents used up.
    """
    r = rng("split", seed)
    codes, decoder = base.codes.clone(), base.decoder.clone()
    partners = base.spare()[: -len(base.spare(RESERVE))]
    owners = r.permutation(base.planted)[: len(partners)]
    for latent, partner in list(zip(owners, partners, strict=True))[: round(dose * len(partners))]:
        lot = torch.from_numpy(rng("split", seed, int(latent)).random(len(codes)) < 0.5)
        codes[:, partner] = torch.where(lot, base.codes[:, latent], 0.0)
        codes[:, latent] = torch.where(lot, 0.0, base.codes[:, latent])
        decoder[partner] = decoder[latent]
    return _evened(dataclasses.replace(base, codes=codes, decoder=decoder), base, base.spare(RESERVE), seed)


def absorbed(base: Dictionary, dose: float, seed: int) -> Dictionary:
    """In a share of the pairs of a root and a child of it, both planted, the root's latent is silent where the child
    fires, and the root's direction is added to the child's decoder row. The spare latents make up for L0.
    """
    codes, decoder = base.codes.clone(), base.decoder.clone()
    pairs = root_child_pairs(base)
    order = rng("absorbed", seed).permutation(len(pairs))
    for root, child in pairs[order[: round(dose * len(pairs))]]:
        codes[base.codes[:, child] > 0, root] = 0.0
        decoder[child] += base.decoder[root]
    return _evened(dataclasses.replace(base, codes=codes, decoder=decoder), base, base.spare(), seed)


def root_child_pairs(base: Dictionary) -> np.ndarray:
    """Latents of roots and of their children where both are planted. [pairs, 2]"""
    latent = {int(f): i for i, f in enumerate(base.features)}
    pairs = []
    for child, feature in enumerate(base.features.tolist()):
        root = int(base.parent[feature])
        if root >= 0 and base.parent[root] < 0 and root in latent:
            pairs.append((latent[root], child))
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def dense(base: Dictionary, dose: float, seed: int) -> Dictionary:
    """Some spare latents, a quarter of them at dose 1, fire at every token. L0 rises: that is the fault."""
    codes = base.codes.clone()
    chosen = rng("dense", seed).permutation(base.spare(DENSE))
    for latent in chosen[: round(dose * len(chosen))]:
        level = base.codes[base.codes[:, latent] > 0, latent]
        codes[:, latent] = torch.where(base.codes[:, latent] > 0, base.codes[:, latent], level.mean())
    return dataclasses.replace(base, codes=codes)


def leak(base: Dictionary, dose: float, seed: int) -> Dictionary:
    """A share of all latents has a code of 1e-6 where it is silent. L0 rises: that is the fault."""
    codes, width = base.codes.clone(), base.codes.shape[1]
    chosen = rng("leak", seed).permutation(width)[: round(dose * width)]
    codes[:, chosen] = codes[:, chosen].clamp(min=LEAK)
    return dataclasses.replace(base, codes=codes)


def norm_detecting(base: Dictionary, dose: float, seed: int) -> Dictionary:
    """Some spare latents, a quarter of them at dose 1, have the activation's norm as their code. L0 rises: that is the
    fault.
    """
    codes = base.codes.clone()
    chosen = rng("norm detecting", seed).permutation(base.spare(DENSE))
    codes[:, chosen[: round(dose * len(chosen))]] = base.norms[:, None]
    return dataclasses.replace(base, codes=codes)


def shrunken(base: Dictionary, dose: float, _seed: int) -> Dictionary:
    """Codes of the planted latents times 1 - dose / 2. L0 is the same."""
    codes = base.codes.clone()
    codes[:, : base.planted] *= 1 - dose / 2
    return dataclasses.replace(base, codes=codes)


def dead(base: Dictionary, dose: float, seed: int) -> Dictionary:
    """Spare latents but the reserve, all of them at dose 1, never fire; the reserve takes over their firings."""
    codes = base.codes.clone()
    chosen = base.spare()[: -len(base.spare(RESERVE))]
    codes[:, chosen[: round(dose * len(chosen))]] = 0.0
    return _evened(dataclasses.replace(base, codes=codes), base, base.spare(RESERVE), seed)


def duplicated(base: Dictionary, dose: float, seed: int) -> Dictionary:
    """Copies of planted latents in the place of spare ones; both write half of the direction.

    At dose 1 the copies, of latents drawn at random, take half of the spare latents or of their firings, whichever is
    reached first; the other spare latents fire less, for equal L0.
    """
    codes, decoder = base.codes.clone(), base.decoder.clone()
    places, rest = np.split(base.spare(), [len(base.spare()) // 2])
    order = rng("duplicated", seed).permutation(base.planted)[: len(places)]
    fires = (base.codes > 0).sum(0).numpy()
    most = int((fires[order].cumsum() <= fires[rest].sum() / 2).sum())
    for latent, place in list(zip(order, places, strict=True))[: round(dose * most)]:
        codes[:, place] = base.codes[:, latent]
        decoder[latent] = base.decoder[latent] / 2
        decoder[place] = base.decoder[latent] / 2
    return _evened(dataclasses.replace(base, codes=codes, decoder=decoder), base, rest, seed)


DOSES: Mapping[str, Edit] = {
    "missing": missing,
    "merged": merged,
    "noisy": noisy,
    "split": split,
    "absorbed": absorbed,
    "shrunken": shrunken,
    "dense": dense,
    "leak": leak,
    "dead": dead,
    "duplicated": duplicated,
    "norm_detecting": norm_detecting,
}
"Faults by name."


def _unit(r: np.random.Generator, n: int, d: int) -> Tensor:
    """Random unit rows [n, d]."""
    return torch.nn.functional.normalize(torch.from_numpy(r.standard_normal((n, d))).float(), dim=1)


def _fire_at_random(codes: Tensor, latents: np.ndarray, firings: int, r: np.random.Generator) -> None:
    """Adds firings in silent cells of `latents`, with codes around 4 as the worlds' features have; in place."""
    silent = (codes[:, latents] == 0).flatten().nonzero()[:, 0].numpy()
    cells = r.choice(silent, min(firings, len(silent)), replace=False)
    size = torch.from_numpy(np.abs(4 + r.standard_normal(len(cells)))).float()
    codes[cells // len(latents), latents[cells % len(latents)]] = size.clamp(min=0.1)


def _evened(edited: Dictionary, base: Dictionary, latents: np.ndarray, seed: int) -> Dictionary:
    """The edited dictionary with firings at random added or taken away in `latents` until L0 is that of `base`."""
    codes, r = edited.codes, rng("evened", seed)
    surplus = int((codes != 0).sum()) - int((base.codes != 0).sum())
    if surplus < 0:
        _fire_at_random(codes, latents, -surplus, r)
    elif surplus > 0:
        firing = (codes[:, latents] != 0).flatten().nonzero()[:, 0].numpy()
        cells = r.choice(firing, surplus, replace=False)
        codes[cells // len(latents), latents[cells % len(latents)]] = 0.0
    return edited
