"""The oracle of a world among samples that a task made itself."""

from __future__ import annotations

import copy

from torch import Tensor

from saebench_lite.saes.protocol import SAE, unwrapped
from saebench_lite.saes.wrapped import WrappedSAE
from saebench_lite.worlds.oracle import OracleSAE


def informed(sae: SAE, x: Tensor, truth: Tensor) -> SAE:
    """The SAE; the oracle of a world, bare or wrapped, with samples x [n, d] of true features truth [n, N] beside its own.

    It knows a sample's features by looking it up, and those of samples that a task makes it has not seen.
    """
    bare = unwrapped(sae)
    if isinstance(bare, OracleSAE):
        return bare.knowing(x, truth)
    if isinstance(bare, WrappedSAE):
        inner = informed(bare.sae, x, truth)
        if inner is not bare.sae:
            bare = copy.copy(bare)
            bare.sae = inner
            return bare
    return sae
