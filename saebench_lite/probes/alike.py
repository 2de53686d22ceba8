"""Problems that are alike in their sizes, so that one batch computes them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable


def alike(sizes: Iterable[Hashable]) -> list[list[int]]:
    """Places of equal sizes, in order of their first place."""
    out: dict[Hashable, list[int]] = {}
    for i, size in enumerate(sizes):
        out.setdefault(size, []).append(i)
    return list(out.values())
