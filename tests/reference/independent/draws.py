"""Draws of the protocol, by the names of their seeds."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(*names: object) -> np.random.Generator:
    """Numpy's default generator, seeded by the first 8 bytes of a SHA-256 of the names, shifted right by one bit."""
    digest = hashlib.sha256("\x1f".join(map(str, names)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "little") >> 1)


def balanced(y: np.ndarray, train: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(training rows, test rows), as many of each class: for probes. y, train [n] bool."""
    parts = []
    for name, side in (("train", train), ("test", ~train)):
        draw = generator("split", name, seed)
        yes, no = np.flatnonzero(y & side), np.flatnonzero(~y & side)
        size = min(len(yes), len(no), 512) if name == "train" else min(len(yes), len(no))
        some = draw.permutation(yes)[:size]
        parts.append(draw.permutation(np.concatenate([some, draw.permutation(no)[:size]])))
    return parts[0], parts[1]


def natural(y: np.ndarray, train: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(training rows with replacement, test rows), classes at their own sizes: for one latent as a detector."""
    draw = generator("detection split", seed)
    parts: list[list[np.ndarray]] = [[], []]
    for label, most in ((True, 512), (False, 2048)):
        rows = draw.permutation(np.flatnonzero(y == label))
        learn, judge = rows[train[rows]], rows[~train[rows]]
        parts[0].append(draw.choice(learn, len(learn)) if len(learn) <= most else learn[:most])
        parts[1].append(judge[:most])
    return np.concatenate(parts[0]), np.concatenate(parts[1])


def evenly(lengths: np.ndarray, budget: int) -> np.ndarray:
    """Numbers of evenly spaced texts with at most `budget` tokens together. lengths [n]"""
    n = max(1, int(len(lengths) * min(1.0, budget / lengths.sum())))
    chosen = sorted({round(float(place)) for place in np.linspace(0, len(lengths) - 1, n)})
    while len(chosen) > 1 and lengths[chosen].sum() > budget:
        chosen.pop()
    return np.array(chosen)
