"""One p-value from several that may depend on each other. Pure functions of numpy arrays."""

from __future__ import annotations

import numpy as np

LEAST, LARGEST = 1e-15, 0.99
"P-values beyond count as these: a 0 or a 1 would be infinite and decide alone."


def cauchy_combination(p: np.ndarray) -> float:
    """The combined p-value of p [m >= 1], each of equal weight; order does not matter.

    The mean of tan((1/2 - p) pi) is Cauchy if p are independent and uniform, and its upper tail is nearly so under any
    dependence, so correlated p-values need no correction; a few small ones decide, as with Bonferroni, and several
    small ones add up (Liu & Xie 2020, J. Am. Stat. Assoc. 115, 393-402).
    """
    clipped = np.clip(np.asarray(p, dtype=np.float64), LEAST, LARGEST)
    return float(0.5 - np.arctan(np.mean(np.tan((0.5 - clipped) * np.pi))) / np.pi)
