"""What one unit alone can say, from the standard errors of its values under other test texts. Pure functions.

Units from twelve on show in their own spread what other texts would have given, so errors within them are not added.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri


class Difference(NamedTuple):
    """Tests of a difference a minus b on one unit."""

    low: float
    "Of its 95 % interval."
    high: float
    p: float
    "Two-sided."
    p_above: float
    "One-sided, for a above b."


def mean_error(errors: np.ndarray) -> float | None:
    """Standard error of a unit's mean over seeds from that of each [seeds]; None where none is known or all are 0.

    It is the mean of the errors, as if all seeds judged the same texts; where they draw other texts it errs on the safe
    side. An error of 0 (all test texts judged alike) only says that these texts are too few to show one.
    """
    known = errors[np.isfinite(errors)]
    mean = float(known.mean()) if len(known) else 0.0
    return mean if mean > 0 else None


def interval_over_texts(
    value: float, error: float, bounds: tuple[float | None, float | None] = (None, None), level: float = 0.95
) -> tuple[float, float]:
    """Interval of a score with a standard error, by the normal distribution.

    Between two finite bounds it is taken on the logit scale, which keeps it inside them; next to a bound that covers
    better (Agresti & Coull 1998 on shares; Pepe 2003, section 5.2.4, on AUROC). A value at a bound has no logit: there
    and with one bound or none it is value -+ z error, cut at the bounds.

    Args:
        value: the score.
        error: its standard error.
        bounds: least and greatest possible value, None where there is none.
        level: coverage.
    """
    z, (least, most) = float(ndtri(0.5 + level / 2)), bounds
    if least is not None and most is not None and least < value < most:
        share = (value - least) / (most - least)
        slope = share * (1 - share) * (most - least)
        ends = [np.log(share / (1 - share)) + side * z * error / slope for side in (-1, 1)]
        low, high = (least + (most - least) * float(1 / (1 + np.exp(-end))) for end in ends)
        return low, high
    low, high = value - z * error, value + z * error
    return (low if least is None else max(least, low)), (high if most is None else min(most, high))


def difference_over_texts(difference: float, error_a: float, error_b: float) -> Difference:
    """z tests of a difference of two scores with standard errors above 0, which are taken as independent.

    Both are judged on the same texts, so their errors mostly share a sign: the test errs on the safe side.
    """
    error = float(np.hypot(error_a, error_b))
    z, half = difference / error, float(ndtri(0.975)) * error
    return Difference(difference - half, difference + half, float(2 * ndtr(-abs(z))), float(ndtr(-z)))
