"""Choice of texts without randomness."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def even_texts(lengths: Sequence[int] | np.ndarray, max_tokens: int) -> np.ndarray:
    """Indices of evenly spaced texts whose tokens sum to at most max_tokens (one text at least). lengths [n]."""
    lengths = np.asarray(lengths)
    share = min(1.0, max_tokens / max(1, lengths.sum()))
    chosen = np.unique(np.linspace(0, len(lengths) - 1, max(1, int(len(lengths) * share))).round().astype(int))
    while len(chosen) > 1 and lengths[chosen].sum() > max_tokens:
        chosen = chosen[:-1]
    return chosen


def even(n: int, most: int) -> np.ndarray:
    """At most `most` of n places, evenly spaced, the first and the last among them where there are two. [<= most]"""
    return np.linspace(0, n - 1, min(most, n)).round().astype(int)
