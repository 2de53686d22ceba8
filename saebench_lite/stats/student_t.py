"""Student's t for whole degrees of freedom, in closed form. numpy only.

Source: Abramowitz & Stegun 1964, 26.7.3 and 26.7.4: with theta = atan(t / sqrt(df)) the two-sided probability is a
finite sum of powers of cos(theta).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np


def two_sided_p(t: np.ndarray | float, df: int) -> np.ndarray:
    """P(|T| >= |t|) of Student's t with df >= 1 whole degrees of freedom; absolute error below 1e-13. Shape of t."""
    theta = np.arctan(np.abs(np.asarray(t, dtype=np.float64)) / np.sqrt(df))
    cos2 = np.cos(theta) ** 2
    odd = df % 2
    terms, total = np.ones_like(theta), np.zeros_like(theta)
    for j in range(df // 2):
        total = total + terms
        terms = terms * cos2 * ((2 * j + 2) / (2 * j + 3) if odd else (2 * j + 1) / (2 * j + 2))
    sine, cosine = np.sin(theta), np.cos(theta)
    inside = 2 / np.pi * (theta + sine * cosine * total) if odd else sine * total
    return np.clip(1 - inside, 0.0, 1.0)


@lru_cache(maxsize=256)
def t_quantile(q: float, df: int) -> float:
    """The quantile q (0.5 <= q < 1) of Student's t with df >= 1 whole degrees of freedom."""
    tail, low, high = 2 * (1 - q), 0.0, 1.0
    while two_sided_p(high, df) > tail:
        low, high = high, 2 * high
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if two_sided_p(middle, df) > tail else (low, middle)
    return (low + high) / 2
