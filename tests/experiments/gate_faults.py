"""Faults of an SAE that a regression check should catch, as functions of an SAE and a random generator.

The check was chosen for the faults of `LISTED`; those of `FURTHER` try it on others.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from saebench_lite.saes.affine import AffineSAE

Fault = Callable[[AffineSAE, torch.Generator], AffineSAE]


def changed(sae: AffineSAE, **tensors: torch.Tensor) -> AffineSAE:
    """The SAE with some tensors replaced."""
    return AffineSAE(**{**sae.tensors, **tensors}, **sae.settings(), meta=sae.meta)


def some(sae: AffineSAE, share: float, draw: torch.Generator) -> torch.Tensor:
    """A share of the latents, drawn at random."""
    return torch.randperm(sae.d_sae, generator=draw)[: round(share * sae.d_sae)]


def zeroed(sae: AffineSAE, draw: torch.Generator) -> AffineSAE:
    """A tenth of the latents, drawn at random, never fires: weights and biases of the encoder are zero."""
    gone = some(sae, 0.1, draw)
    w_enc, b_enc = sae.W_enc.clone(), sae.b_enc.clone()
    w_enc[:, gone], b_enc[gone] = 0.0, 0.0
    return changed(sae, W_enc=w_enc, b_enc=b_enc)


def shifted(sae: AffineSAE, draw: torch.Generator) -> AffineSAE:
    """k down by a fifth to a half, drawn once, which raises the threshold of every token."""
    amount = 0.2 + 0.3 * torch.rand((), generator=draw).item()
    assert sae.k is not None
    return AffineSAE(**sae.tensors, **(sae.settings() | {"k": round(sae.k * (1 - amount))}), meta=sae.meta)  # type: ignore[arg-type]


def permuted(sae: AffineSAE, draw: torch.Generator) -> AffineSAE:
    """Decoder rows change places."""
    return changed(sae, W_dec=sae.W_dec[torch.randperm(sae.d_sae, generator=draw)])


def rows_zeroed(sae: AffineSAE, draw: torch.Generator) -> AffineSAE:
    """6 of 64 decoder rows, drawn at random, are zero."""
    w_dec = sae.W_dec.clone()
    w_dec[torch.randperm(sae.d_sae, generator=draw)[: 6 * sae.d_sae // 64]] = 0.0
    return changed(sae, W_dec=w_dec)


def columns_permuted(sae: AffineSAE, draw: torch.Generator) -> AffineSAE:
    """A twentieth of the encoder's columns, drawn at random, change places in a circle."""
    some_of = some(sae, 0.05, draw)
    w_enc = sae.W_enc.clone()
    w_enc[:, some_of] = sae.W_enc[:, some_of.roll(1)]
    return changed(sae, W_enc=w_enc)


def scaled(sae: AffineSAE, draw: torch.Generator) -> AffineSAE:
    """All codes are 1.2 times what they were."""
    return changed(sae, W_enc=1.2 * sae.W_enc, b_enc=1.2 * sae.b_enc)


def uncentred(sae: AffineSAE, draw: torch.Generator) -> AffineSAE:
    """The decoder's bias is zero."""
    return changed(sae, b_dec=torch.zeros_like(sae.b_dec))


def silenced(sae: AffineSAE, draw: torch.Generator) -> AffineSAE:
    """A tenth of the latents, drawn at random, never fires: biases of -1000, all weights as they were."""
    b_enc = sae.b_enc.clone()
    b_enc[some(sae, 0.1, draw)] = -1000.0
    return changed(sae, b_enc=b_enc)


LISTED: dict[str, Fault] = {
    "10 % of latents zeroed": zeroed,
    "thresholds shifted": shifted,
    "decoder rows permuted": permuted,
    "6 of 64 decoder rows zeroed": rows_zeroed,
}
FURTHER: dict[str, Fault] = {
    "5 % of encoder columns permuted": columns_permuted,
    "codes times 1.2": scaled,
    "decoder bias zeroed": uncentred,
    "10 % of latents silenced by their bias": silenced,
}
FAULTS = LISTED | FURTHER
