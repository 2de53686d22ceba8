"""Seeds derived by name, so that no draw depends on the order of other draws."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(*names: object) -> int:
    """A 63-bit seed from what the randomness is allowed to depend on; the order of other draws never matters."""
    digest = hashlib.sha256("\x1f".join(str(n) for n in names).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def rng(*names: object) -> np.random.Generator:
    """A numpy generator seeded by `derive_seed`."""
    return np.random.default_rng(derive_seed(*names))
