"""Latents appended to, dropped from and re-thresholded in an AffineSAE; what the attacks of `attack_edits` are made of.

Shapes: x [n, d_in], pre-activations and codes [n, d_sae]. A ReLU SAE is first written as JumpReLU with threshold 0,
which gives the same codes. In a TopK SAE appended latents compete with the others for the k places of a row: k is
raised so that as many of the SAE's own latents as before have a place on average.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from saebench_lite.errors import NotApplicable
from saebench_lite.saes.affine import AffineSAE, encoder_input_frame
from saebench_lite.saes.protocol import SAE


class Calibration(NamedTuple):
    """What an attacker knows besides the weights."""

    x: Tensor
    "Activations. [n, d_in] float32"
    seed: int
    "Of all that is drawn at random."
    tokens: Tensor | None = None
    "Token id of each activation; None where tokens mean nothing. [n] long"


class Extra(NamedTuple):
    """Latents to append: each has a code where its pre-activation is above its threshold."""

    W_enc: Tensor
    "[d_in, m]"
    b_enc: Tensor
    "[m]"
    threshold: Tensor
    "[m], not negative"
    W_dec: Tensor
    "[m, d_out]"


def threshold_form(sae: SAE) -> AffineSAE:
    """The same SAE as JumpReLU where it is ReLU; JumpReLU and TopK as they are; NotApplicable for any other."""
    if not isinstance(sae, AffineSAE):
        raise NotApplicable(
            f"its class {type(sae).__name__} has no encoder weights to edit; give a folder of AffineSAE"
        )
    if sae.activation == "relu":
        return with_parts(sae, activation="jumprelu", threshold=torch.zeros_like(sae.b_enc))
    if sae.activation not in ("jumprelu", "topk"):
        raise NotApplicable(f"edits are written for relu, jumprelu and topk latents, and these are {sae.activation}")
    return sae


def with_parts(sae: AffineSAE, **parts: object) -> AffineSAE:
    """The SAE with some tensors or settings in place of its own; its metadata without its role in the panel."""
    given = {**sae.tensors, **sae.settings(), **parts}
    meta = {k: v for k, v in sae.meta.items() if k != "panel"}
    return AffineSAE(**given, meta=meta)


def encoder_input(sae: AffineSAE, x: Tensor) -> Tensor:
    """What the encoder's weights are multiplied by. [n, d_in]"""
    u = encoder_input_frame(x, sae.normalize)[0]
    return u - sae.b_dec if sae.subtract_b_dec else u


def pre_activations(sae: AffineSAE, x: Tensor) -> Tensor:
    """u W_enc + b_enc. [n, d_sae]"""
    return encoder_input(sae, x) @ sae.W_enc + sae.b_enc


def firing_counts(sae: AffineSAE, x: Tensor) -> Tensor:
    """Rows of x with a code other than 0, of each latent. [d_sae] long"""
    return (sae.encode(x) != 0).sum(0)


def thresholds_that_keep(values: Tensor, counts: Tensor) -> Tensor:
    """Thresholds [m] above which the `counts` [m] (long, 1 to n - 1) largest of each column of values [n, m] lie.

    Half-way to the next value, so that rounding moves nothing across.
    """
    largest = values.sort(0, descending=True).values
    return (largest.gather(0, counts[None] - 1)[0] + largest.gather(0, counts[None])[0]) / 2


def appended(sae: AffineSAE, extra: Extra, x: Tensor) -> AffineSAE:
    """The SAE (jumprelu or topk) with more latents after its own.

    TopK: an appended latent enters with pre-activation - threshold + the mean k-th largest of a row, and k becomes the
    mean place, among all latents, of a row's k-th own latent.
    """
    bias, parts = extra.b_enc, {}
    if sae.activation == "jumprelu":
        parts["threshold"] = torch.cat([sae.tensors["threshold"], extra.threshold])
    else:
        assert sae.k is not None
        last = pre_activations(sae, x).topk(sae.k, dim=1).values[:, -1:]
        bias = bias - extra.threshold + last.mean()
        above = (encoder_input(sae, x) @ extra.W_enc + bias > last).sum(1)
        parts["k"] = min(sae.k + round(above.double().mean().item()), sae.d_sae + len(bias))
    return with_parts(
        sae,
        W_enc=torch.cat([sae.W_enc, extra.W_enc], 1),
        b_enc=torch.cat([sae.b_enc, bias]),
        W_dec=torch.cat([sae.W_dec, extra.W_dec]),
        **parts,
    )


def kept(sae: AffineSAE, which: Tensor) -> AffineSAE:
    """The SAE with the latents `which` [m] (long, ascending) alone."""
    parts: dict[str, object] = {
        name: t[:, which] if name == "W_enc" else t if name == "b_dec" else t[which] for name, t in sae.tensors.items()
    }
    if sae.k is not None:
        parts["k"] = min(sae.k, len(which))
    return with_parts(sae, **parts)


def copies(sae: AffineSAE, which: Tensor) -> Extra:
    """The latents `which` [m] (long) as latents to append, decoder rows included.

    A TopK latent's threshold is 0 before `appended` adds the level of its k-th place; the caller sets it.
    """
    threshold = sae.tensors.get("threshold", torch.zeros_like(sae.b_enc)).clamp(min=0.0)
    return Extra(sae.W_enc[:, which], sae.b_enc[which], threshold[which], sae.W_dec[which])


def detectors(sae: AffineSAE, directions: Tensor, counts: Tensor, x: Tensor) -> Extra:
    """Latents to append that write nothing and fire on the `counts` [m] rows of x furthest along `directions`.

    directions [d_in, m] are brought to the mean norm of the SAE's own encoder directions.
    """
    w = directions / directions.norm(dim=0).clamp(min=1e-12) * sae.W_enc.norm(dim=0).mean()
    u = encoder_input(sae, x)
    parts = zip(w.split(1024, 1), counts.split(1024), strict=True)
    bias = -torch.cat([thresholds_that_keep(u @ part, count) for part, count in parts])
    return Extra(w, bias, torch.zeros_like(bias), silent_rows(sae, len(bias)))


def silent_rows(sae: AffineSAE, m: int) -> Tensor:
    """Decoder rows of latents that write nothing. [m, d_out] of zeros"""
    return sae.W_dec.new_zeros(m, sae.d_out)
