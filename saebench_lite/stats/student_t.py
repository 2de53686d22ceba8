"""Student's t and the normal distribution, from scipy.special."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit


def two_sided_p(t: np.ndarray | float, df: float) -> np.ndarray:
    """P(|T| >= |t|) of Student's t with df degrees of freedom, to relative accuracy in the tail. Shape of t."""
    return 2 * stdtr(df, -np.abs(np.asarray(t, dtype=np.float64)))


def t_quantile(q: float, df: int) -> float:
    """The quantile q of Student's t with df degrees of freedom."""
    return float(stdtrit(df, q))


def upper_p(t: np.ndarray | float, df: float) -> np.ndarray:
    """P(T >= t) of Student's t with df degrees of freedom, to relative accuracy in the tail. Shape of t."""
    return stdtr(df, -np.asarray(t, dtype=np.float64))


def normal_quantile(q: float) -> float:
    """The quantile q of the standard normal distribution."""
    return float(ndtri(q))
