"""Edits of a trained SAE's weights that add no knowledge of features, so that no metric should rise by them.

Each is a pure function of the SAE, of activations without labels that an attacker may look at, and of one strength.
Random directions stand for width without training: random SAEs come close to trained ones on several published metrics
(Korznikov et al., arXiv:2602.14111).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from saebench_lite.audit.attack_weights import (
    Calibration,
    Extra,
    appended,
    copies,
    detectors,
    encoder_input,
    firing_counts,
    kept,
    pre_activations,
    silent_rows,
    threshold_form,
    thresholds_that_keep,
    with_parts,
)
from saebench_lite.errors import NotApplicable
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.identity import fingerprint
from saebench_lite.saes.protocol import SAE, decode_like, decoder_of, meta_of, moved_to
from saebench_lite.stats.seeds import derive_seed


@dataclass(frozen=True)
class Attack:
    """A way of editing an SAE."""

    name: str
    meaning: str
    "One line: what is edited."
    edit: Callable[[SAE, Calibration, float], SAE]
    strength: float
    once: bool = False
    "Whether it is done to one SAE only: a change of scale leaves each code what it was but for a factor."

    def __call__(self, sae: SAE, known: Calibration) -> SAE:
        """The edited SAE; NotApplicable where the edit has no meaning for its architecture."""
        return self.edit(sae, known, self.strength)


def _generator(known: Calibration, what: str) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed("attack", what, known.seed))


def ladder(sae: SAE, known: Calibration, rungs: float) -> AffineSAE:
    """Copies of each latent that keep the largest 1/2, 1/4, ... of its firings, `rungs` of them, and write nothing.

    Latents that never fire are not copied.
    """
    own = threshold_form(sae)
    codes = own.encode(known.x)
    counts = (codes != 0).sum(0)
    live = counts.nonzero()[:, 0]
    base = copies(own, live)
    steps = [
        base._replace(
            threshold=thresholds_that_keep(codes[:, live], (counts[live] >> rung).clamp(min=1, max=len(codes) - 1))
        )
        for rung in range(1, int(rungs) + 1)
    ]
    extra = Extra(
        torch.cat([s.W_enc for s in steps], 1),
        torch.cat([s.b_enc for s in steps]),
        torch.cat([s.threshold for s in steps]),
        silent_rows(own, len(live) * len(steps)),
    )
    return appended(own, extra, known.x)


def raised(sae: SAE, known: Calibration, share: float) -> AffineSAE:
    """Each latent fires only above the threshold that keeps the largest `share` of its firings, one at least.

    TopK becomes JumpReLU with those thresholds; latents that never fire get one above any pre-activation seen.
    """
    own = threshold_form(sae)
    codes = own.encode(known.x)
    counts = (codes != 0).sum(0)
    above = thresholds_that_keep(codes, (counts * share).long().clamp(min=1))
    silent = 1 + pre_activations(own, known.x).amax(0).clamp(min=0.0)
    return with_parts(own, activation="jumprelu", k=None, threshold=torch.where(counts > 0, above, silent))


def width(sae: SAE, known: Calibration, times: float) -> AffineSAE:
    """`times` as many random directions appended, each as frequent as one of the SAE's latents; they write nothing."""
    own = threshold_form(sae)
    m = int(times * own.d_sae)
    directions = torch.randn(own.d_in, m, generator=_generator(known, "width")).to(known.x.device)
    counts = firing_counts(own, known.x).clamp(min=1, max=len(known.x) - 1)
    return appended(own, detectors(own, directions, counts.repeat(-(-m // own.d_sae))[:m], known.x), known.x)


def rotated(sae: SAE, known: Calibration, degrees: float) -> AffineSAE:
    """The latents that fire least, a twentieth or all that never fire, become the most frequent ones, turned slightly.

    Encoder and decoder direction turn by `degrees` towards random ones; a latent and its copy write half each.
    """
    own = threshold_form(sae)
    counts = firing_counts(own, known.x)
    n = min(max(own.d_sae // 20, int((counts == 0).sum())), own.d_sae // 2)
    order = counts.argsort(descending=True, stable=True)
    rest = order[: own.d_sae - n].sort().values
    model = torch.searchsorted(rest, order[:n])
    own = _halved(kept(own, rest), model)
    turned = copies(own, model)
    g = _generator(known, "rotated")
    turned = turned._replace(
        W_enc=_turned(turned.W_enc.T, degrees, g).T,
        W_dec=_turned(turned.W_dec, degrees, g),
        threshold=_levels(own, model, known.x),
    )
    return appended(own, turned, known.x)


def _turned(rows: Tensor, degrees: float, g: torch.Generator) -> Tensor:
    """Rows [m, d] turned by an angle towards random directions, norms unchanged."""
    norm = rows.norm(dim=1, keepdim=True)
    unit = rows / norm.clamp(min=1e-12)
    other = torch.randn(rows.shape, generator=g).to(rows.device)
    other -= (other * unit).sum(1, keepdim=True) * unit
    other /= other.norm(dim=1, keepdim=True)
    angle = torch.tensor(degrees).deg2rad()
    return norm * (angle.cos() * unit + angle.sin() * other)


def _halved(sae: AffineSAE, which: Tensor) -> AffineSAE:
    """The SAE whose latents `which` write half of what they wrote."""
    rows = sae.W_dec.clone()
    rows[which] /= 2
    return with_parts(sae, W_dec=rows)


def _levels(sae: AffineSAE, which: Tensor, x: Tensor) -> Tensor:
    """Thresholds of copies: the latents' own, or for TopK the mean k-th largest pre-activation of a row.

    That plus a thousandth, so that a copy comes right after its original and never ties with it.
    """
    if sae.k is None:
        return copies(sae, which).threshold
    level = pre_activations(sae, x).topk(sae.k, dim=1).values[:, -1].mean()
    return (level + level.abs() / 1000).expand(len(which))


def duplicated(sae: SAE, known: Calibration, share: float) -> AffineSAE:
    """The `share` of latents that fire most appended once more; each pair writes half and half."""
    own = threshold_form(sae)
    popular = firing_counts(own, known.x).argsort(descending=True, stable=True)[: max(1, int(share * own.d_sae))]
    own = _halved(own, popular)
    return appended(own, copies(own, popular)._replace(threshold=_levels(own, popular, known.x)), known.x)


def planted(sae: SAE, known: Calibration, most: float) -> AffineSAE:
    """Detectors appended for the mean activations of the `most` most frequent tokens, or of as many k-means clusters.

    The direction is that of linear discriminant analysis, S^-1 (mean of the group - mean) with S the covariance of all
    activations plus a hundredth of its mean variance; the threshold lets each fire as often as its group occurs.
    """
    own = threshold_form(sae)
    u = encoder_input(own, known.x)
    groups = _clusters(u, int(most), _generator(known, "planted")) if known.tokens is None else known.tokens
    values, place, counts = groups.unique(return_inverse=True, return_counts=True)
    frequent = counts.argsort(descending=True, stable=True)[: int(most)]
    means = u.new_zeros(len(values), u.shape[1]).index_add_(0, place, u)[frequent] / counts[frequent, None]
    centred = u - u.mean(0)
    spread = centred.T @ centred / len(u)
    ridge = spread.diagonal().mean() / 100 * torch.eye(len(spread), device=u.device)
    directions = torch.linalg.solve(spread + ridge, (means - u.mean(0)).T)
    return appended(own, detectors(own, directions, counts[frequent].clamp(max=len(u) - 1), known.x), known.x)


def _clusters(u: Tensor, k: int, g: torch.Generator, rounds: int = 20) -> Tensor:
    """Cluster of each row of u [n, d] by Lloyd's k-means from k-means++ (Arthur & Vassilvitskii 2007). [n] long"""
    centres = u[:1]
    for _ in range(k - 1):
        far = torch.cdist(u, centres).amin(1).square().cpu()
        centres = torch.cat([centres, u[torch.multinomial(far.clamp(min=1e-12), 1, generator=g).to(u.device)]])
    nearest = torch.cdist(u, centres).argmin(1)
    for _ in range(rounds):
        sums = torch.zeros_like(centres).index_add_(0, nearest, u)
        counts = torch.bincount(nearest, minlength=len(centres))[:, None]
        centres = torch.where(counts > 0, sums / counts.clamp(min=1), centres)
        nearest = torch.cdist(u, centres).argmin(1)
    return nearest


def norm_detectors(sae: SAE, known: Calibration, share: float) -> AffineSAE:
    """Four latents appended that fire on the `share` of activations furthest along the mean and the first principal
    component, each both ways; they write nothing.
    """
    own = threshold_form(sae)
    u = encoder_input(own, known.x)
    first = torch.linalg.svd(u - u.mean(0), full_matrices=False).Vh[0]
    first = first * first[first.abs().argmax()].sign()
    mean = known.x.mean(0)
    directions = torch.stack([mean, -mean, first, -first], 1)
    counts = torch.full((4,), max(1, int(share * len(u))), device=u.device)
    return appended(own, detectors(own, directions, counts, known.x), known.x)


def always_on(sae: SAE, known: Calibration, count: float) -> AffineSAE:
    """`count` latents appended that fire on every activation with the same code and write nothing."""
    own = threshold_form(sae)
    m = int(count)
    bias = pre_activations(own, known.x).amax().clamp(min=1.0).expand(m)
    return appended(
        own, Extra(own.W_enc.new_zeros(own.d_in, m), bias, torch.zeros_like(bias), silent_rows(own, m)), known.x
    )


def rescaled(sae: SAE, known: Calibration, spread: float) -> AffineSAE:
    """Each latent's code times c and its decoder row over c, log c normal with sd `spread`; the same reconstruction.

    NotApplicable to TopK, where the scale decides which latents have a place.
    """
    own = threshold_form(sae)
    if own.k is not None:
        raise NotApplicable("a scale for each latent changes which latents of a topk SAE have a place")
    scale = (spread * torch.randn(own.d_sae, generator=_generator(known, "rescaled"))).exp().to(known.x.device)
    return _scaled(own, scale)


def enlarged(sae: SAE, _: Calibration, factor: float) -> AffineSAE:
    """All codes times `factor` and all decoder rows over it; the same reconstruction."""
    own = threshold_form(sae)
    return _scaled(own, torch.full_like(own.b_enc, factor))


def _scaled(own: AffineSAE, scale: Tensor) -> AffineSAE:
    """Codes times `scale` [d_sae], decoder rows over it."""
    parts = {"threshold": own.tensors["threshold"] * scale} if "threshold" in own.tensors else {}
    encoder = {"W_enc": own.W_enc * scale, "b_enc": own.b_enc * scale}
    return with_parts(own, **encoder, W_dec=own.W_dec / scale[:, None], **parts)


class LeakySAE:
    """`sae` with a constant added to every code, as smooth activation functions have it."""

    def __init__(self, sae: SAE, leak: float) -> None:
        self.sae, self.leak = sae, leak
        self.d_in, self.d_sae = sae.d_in, sae.d_sae
        self.meta = {k: v for k, v in meta_of(sae).items() if k != "panel"}

    @property
    def decoder(self) -> Tensor | None:
        """Feature directions [d_sae, d_in]."""
        return decoder_of(self.sae)

    def to(self, device: str | torch.device) -> LeakySAE:
        """The same on another device."""
        return LeakySAE(moved_to(self.sae, device), self.leak)

    def encode(self, x: Tensor) -> Tensor:
        """Codes [n, d_sae], none of them 0 where the SAE's are not negative."""
        return self.sae.encode(x) + self.leak

    def decode(self, f: Tensor) -> Tensor:
        """Reconstruction [n, d_in] in the SAE's own frame."""
        return self.sae.decode(f)

    def decode_like(self, f: Tensor, x: Tensor) -> Tensor:
        """Reconstruction [n, d_in] at the scale of the rows x."""
        return decode_like(self.sae, f, x)

    def fingerprint(self) -> str:
        """Of the SAE and the leak."""
        return hashlib.sha256(f"leak {self.leak!r} {fingerprint(self.sae)}".encode()).hexdigest()


def leaky(sae: SAE, _: Calibration, leak: float) -> LeakySAE:
    """`leak` added to every code of an SAE of any class."""
    return LeakySAE(sae, leak)


ATTACKS = (
    Attack("ladder", "copies of each latent at five raised thresholds, writing nothing", ladder, 5),
    Attack("raised", "each latent keeps the largest 25 % of its firings", raised, 0.25),
    Attack("width", "7 times as many random directions appended, writing nothing", width, 7),
    Attack("rotated", "the rarest 5 % (or all dead) latents become frequent ones turned by 10 degrees", rotated, 10),
    Attack("duplicated", "the most frequent 25 % of latents appended once more", duplicated, 0.25),
    Attack("planted", "detectors of the 64 most frequent tokens (worlds: k-means clusters) appended", planted, 64),
    Attack("norm", "latents along the mean and the first principal component appended", norm_detectors, 0.25),
    Attack("leak", "1e-6 added to every code", leaky, 1e-6),
    Attack("rescaled", "each code times a factor (log-normal, sd 1), its decoder row over it", rescaled, 1, once=True),
    Attack("enlarged", "all codes times 128, all decoder rows over it", enlarged, 128, once=True),
    Attack("always on", "8 latents appended that fire always, writing nothing", always_on, 8),
)
