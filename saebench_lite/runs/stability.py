"""Which latents of an SAE come back when it is trained again? Training seeds of one recipe, matched one to one.

Decoder rows of each pair of SAEs are matched by cosine (Hungarian method), and, where activations are at hand, latents
by the correlation of their codes too. Every figure stands beside what matching gives by chance: cosines beside those
with random rows of the same mean and covariance, correlations beside those with the other SAE's codes of other tokens.
Pairs share SAEs, so that the error over runs leaves out whole runs.

Sources: arXiv:2501.16615 (shares of latents that seeds share), arXiv:2505.20254 (PW-MCC), arXiv:2606.12138 (subspaces
of unmatched latents). Ours: signed cosines, as codes are not negative; PW-MCC by absolute value stands beside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array, vstack
from torch import Tensor

from saebench_lite.activations.pooling import chunk_size
from saebench_lite.errors import SaebenchError, kind_of
from saebench_lite.metrics import matching
from saebench_lite.progress import NoProgress, Progress, doing
from saebench_lite.records.training import recipe_key, training_seed
from saebench_lite.saes.adapt import adapted
from saebench_lite.saes.protocol import SAE, decoder_of, device_of, meta_of
from saebench_lite.stats.intervals import interval
from saebench_lite.stats.seeds import rng

BAR, STRICT = 0.7, 0.9
MOST_LATENTS = 16_384
"Alive latents of an SAE up to which matching fits in memory and minutes."
SUBSPACE = 8
"Subspaces have d / 8 dimensions."
EXCESS, Z = 0.05, 10.0
"Of equal-index cosines over those of all pairs, from which SAEs count as started alike."

FIGURES = {
    "mcc": "mean cosine of matched decoder rows",
    "mcc_null": "the same against random rows of equal mean and covariance",
    "mcc_calibrated": "(mcc - null) / (1 - null)",
    "shared": f"share of matched rows with a cosine above {BAR}",
    "shared_null": "the same against random rows",
    "shared_strict": f"share above {STRICT}",
    "pw_mcc": "mean absolute cosine, matched by it (PW-MCC)",
    "pw_mcc_null": "the same against random rows",
    "subspace": "overlap of the d/8 leading decoder directions; d/8 random ones: 1/8",
    "subspace_unshared": f"the same of the rows not above {BAR} alone",
    "shared_by_firing": f"share of firings by latents above {BAR}",
    "shared_by_mass": f"share of activation (code times row norm) of latents above {BAR}",
    "correlation": "mean correlation of codes, matched by it",
    "correlation_null": "the same with codes of other tokens",
    "correlation_calibrated": "(correlation - null) / (1 - null)",
    "correlated": f"share of latents so matched with a correlation above {BAR}",
    "correlation_of_rows": "mean correlation of codes where decoder rows are matched",
}
"Name and meaning, in the order of the table; from shared_by_firing on they take activations."


class Member(NamedTuple):
    """One SAE, reduced to its alive latents."""

    rows: np.ndarray
    "Decoder rows. [m, d]"
    codes: csr_array | None
    "On the sample of tokens. [t, m]"


class Pair(NamedTuple):
    """Two SAEs matched."""

    first: int
    second: int
    figures: dict[str, float]
    mcc_interval: tuple[float, float]
    "95 %, over matched latents."


@dataclass(frozen=True)
class Stability:
    """SAEs of several training seeds against each other."""

    names: list[str]
    dead: list[int] | None
    "Latents of each that never fire in the sample, left out; None without activations."
    tokens: int
    pairs: list[Pair]
    mean: dict[str, float]
    "Of each figure over pairs."
    error: dict[str, float | None]
    "Jackknife over runs; None below three SAEs."
    notes: list[str]


@torch.no_grad()
def stability(saes: Mapping[str, SAE], x: Tensor | None = None, *, progress: Progress | None = None) -> Stability:
    """SAEs of one recipe and several training seeds, matched pair by pair.

    Without activations only decoder rows are compared, dead latents included. SaebenchError for fewer than two SAEs or
    SAEs without names, one without a decoder, unequal widths, too many latents, and two whose rows of equal index are
    alike: they began at one initialisation, which they then share whatever training does.

    Args:
        saes: by name; three or more.
        x: activations of the site. [tokens, d_in]
        progress: is told of each pair.
    """
    if not isinstance(saes, Mapping):
        raise SaebenchError(f"saes is {kind_of(saes)}; give {{name: SAE}}, three or more")
    if len(saes) < 2:
        raise SaebenchError(f"stability compares training seeds; {len(saes)} SAE was given, give three or more")
    decoders = {name: _decoder(name, sae) for name, sae in saes.items()}
    widths = {name: rows.shape[1] for name, rows in decoders.items()}
    if len(set(widths.values())) > 1:
        raise SaebenchError(f"the SAEs write activations of different width, {widths}; give those of one site")
    _refuse_shared_start(decoders)
    members = [_member(name, sae, decoders[name], x) for name, sae in saes.items()]
    names = list(saes)
    pairs = []
    for i, j in combinations(range(len(names)), 2):
        doing(progress or NoProgress(), f"{names[i]} and {names[j]}")
        pairs.append(_pair(i, j, members[i], members[j]))
    known = [name for name in FIGURES if all(name in p.figures for p in pairs)]
    figures = {n: {(p.first, p.second): p.figures[n] for p in pairs} for n in known}
    return Stability(
        names=names,
        dead=None if x is None else [sae.d_sae - len(m.rows) for sae, m in zip(saes.values(), members, strict=True)],
        tokens=0 if x is None else len(x),
        pairs=pairs,
        mean={n: float(np.mean(list(values.values()))) for n, values in figures.items()},
        error={n: matching.jackknife(values, len(names)) for n, values in figures.items()},
        notes=_notes(saes, x),
    )


def _decoder(name: str, sae: SAE) -> np.ndarray:
    rows = decoder_of(sae)
    if rows is None:
        raise SaebenchError(
            f"{name!r} shows no decoder, whose rows are matched; give it a tensor `decoder` [d_sae, d_in]"
        )
    return rows.float().cpu().numpy()


def _refuse_shared_start(decoders: Mapping[str, np.ndarray]) -> None:
    """SaebenchError where rows of equal index are far more alike than rows of any two indices."""
    for (a, rows), (b, others) in combinations(decoders.items(), 2):
        n = min(len(rows), len(others), MOST_LATENTS)
        sign = matching.shared_start(matching.unit(rows[:n]) @ matching.unit(others[:n]).T)
        if sign.excess > EXCESS and sign.z > Z:
            raise SaebenchError(
                f"{a!r} and {b!r} share their initialisation: decoder rows of equal index have a cosine"
                f" {sign.excess:.2f} above that of any two rows ({sign.z:.0f} standard errors), so they agree whatever"
                " training did; train from different seeds"
            )


def _member(name: str, sae: SAE, rows: np.ndarray, x: Tensor | None) -> Member:
    """The alive latents of an SAE: all of them without activations."""
    codes = None
    if x is not None:
        if x.shape[1] != sae.d_in:
            raise SaebenchError(
                f"{name!r} reads {sae.d_in} dimensions, the activations have {x.shape[1]}; check the hook"
            )
        codes = _codes(adapted(sae), x)
        alive = np.flatnonzero(np.bincount(codes.indices, codes.data != 0, minlength=sae.d_sae))
        rows, codes = rows[alive], csr_array(codes[:, alive])
    if len(rows) > MOST_LATENTS:
        raise SaebenchError(
            f"{name!r} has {len(rows)} latents to match; {MOST_LATENTS} are the most: take narrower SAEs, or give"
            " activations if many are dead"
        )
    if not len(rows):
        raise SaebenchError(
            f"no latent of {name!r} fires on the {len(x) if x is not None else 0} tokens; check the hook"
        )
    return Member(rows, codes)


def _codes(sae: SAE, x: Tensor) -> csr_array:
    """Codes [t, d_sae] of x [t, d_in], float64."""
    device = device_of(sae)
    parts = x.split(chunk_size(sae.d_sae, device))
    return csr_array(vstack([csr_array(sae.encode(p.to(device, torch.float32)).double().cpu().numpy()) for p in parts]))


def _pair(i: int, j: int, a: Member, b: Member) -> Pair:
    """All figures of two SAEs."""
    draw = rng("stability", i, j)
    first, second = matching.unit(a.rows), matching.unit(b.rows)
    cosines = first @ second.T
    rows, columns = matching.best_matching(cosines)
    matched = cosines[rows, columns].astype(np.float64)
    by_chance = first @ matching.alike(b.rows, draw).T
    null = by_chance[matching.best_matching(by_chance)]
    figures = {
        "mcc": float(matched.mean()),
        "mcc_null": float(null.mean()),
        "mcc_calibrated": matching.above_null(float(matched.mean()), float(null.mean())),
        "shared": float((matched > BAR).mean()),
        "shared_null": float((null > BAR).mean()),
        "shared_strict": float((matched > STRICT).mean()),
        "pw_mcc": _mean_matched(np.abs(cosines)),
        "pw_mcc_null": _mean_matched(np.abs(by_chance)),
    }
    r = max(1, a.rows.shape[1] // SUBSPACE)
    figures["subspace"] = matching.subspace_overlap(a.rows, b.rows, r)
    figures["subspace_unshared"] = matching.subspace_overlap(
        np.delete(a.rows, rows[matched > BAR], 0), np.delete(b.rows, columns[matched > BAR], 0), r
    )
    if a.codes is not None and b.codes is not None:
        shared = rows[matched > BAR], columns[matched > BAR]
        firings = [np.bincount(codes.indices, codes.data != 0) for codes in (a.codes, b.codes)]
        mass = [_mass(codes, m.rows) for m, codes in ((a, a.codes), (b, b.codes))]
        figures["shared_by_firing"] = _share_held(firings, shared)
        figures["shared_by_mass"] = _share_held(mass, shared)
        figures |= _by_correlation(a.codes, b.codes, rows, columns)
    kept = {name: value for name, value in figures.items() if np.isfinite(value)}
    return Pair(i, j, kept, interval(matched, np.ones(len(matched))))


def _mean_matched(similarity: np.ndarray) -> float:
    """Mean of the one-to-one matching with the largest sum."""
    return float(similarity[matching.best_matching(similarity)].mean())


def _share_held(mass: Sequence[np.ndarray], shared: Sequence[np.ndarray]) -> float:
    """Share of the mass [m] of each of two SAEs that its latents `shared` hold, mean of both."""
    return float(np.mean([m[latents].sum() / m.sum() for m, latents in zip(mass, shared, strict=True)]))


def _mass(codes: csr_array, rows: np.ndarray) -> np.ndarray:
    """Sum of each latent's absolute codes times the norm of its decoder row [m]. codes [t, m], rows [m, d]"""
    return np.bincount(codes.indices, np.abs(codes.data), minlength=len(rows)) * np.linalg.norm(rows, axis=1)


def _by_correlation(f: csr_array, g: csr_array, rows: np.ndarray, columns: np.ndarray) -> dict[str, float]:
    """Figures on the correlation of codes.

    Args:
        f: codes of the first SAE. [t, m]
        g: codes of the second. [t, n]
        rows: latents of the first whose decoder rows are matched. [k]
        columns: those of the second. [k]
    """
    r = matching.correlations(f, g)
    tokens = len(g.indptr) - 1
    others = csr_array(g[np.roll(np.arange(tokens), tokens // 2)])
    found, null = r[matching.best_matching(r)], _mean_matched(matching.correlations(f, others))
    return {
        "correlation": float(found.mean()),
        "correlation_null": null,
        "correlation_calibrated": matching.above_null(float(found.mean()), null),
        "correlated": float((found > BAR).mean()),
        "correlation_of_rows": float(r[rows, columns].mean()),
    }


def _notes(saes: Mapping[str, SAE], x: Tensor | None) -> list[str]:
    """What a reader should know of the SAEs that were given."""
    metas = {name: meta_of(sae) for name, sae in saes.items()}
    out = []
    if len(saes) < 3:
        out.append("two SAEs are one pair: how far training seeds scatter is not known; give three or more")
    if len({recipe_key(meta) for meta in metas.values()}) > 1:
        out.append("the metadata of the SAEs differ in more than the training seed: they may be of different recipes")
    seeds = [training_seed(meta) for meta in metas.values()]
    if None in seeds or len(set(seeds)) < len(seeds):
        told = ", ".join("not told" if seed is None else str(seed) for seed in seeds)
        out.append(f"the metadata do not tell different training seeds ({told})")
    if x is None:
        out.append("without activations dead latents are not known and count as any other")
    return out
