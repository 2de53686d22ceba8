"""The oracle of a world among samples that a task made itself."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import Tensor

from saebench_lite.saes.protocol import SAE, unwrapped
from saebench_lite.saes.wrapped import WrappedSAE
from saebench_lite.worlds.oracle import OracleSAE


def informed(sae: SAE, x: Tensor, truth: Callable[[], Tensor]) -> SAE:
    """The SAE; the oracle of a world, bare or wrapped, with samples x [n, d] beside its own.

    It knows a sample's features by looking it up, and those that a task makes it has not seen. `truth` gives their true
    features [n, N], dense or sparse, and is not asked for any other SAE.
    """
    bare = unwrapped(sae)
    if isinstance(bare, OracleSAE):
        return bare.knowing(x, truth())
    if isinstance(bare, WrappedSAE):
        inner = informed(bare.sae, x, truth)
        if inner is not bare.sae:
            bare = copy.copy(bare)
            bare.sae = inner
            return bare
    return sae
