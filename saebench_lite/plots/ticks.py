"""Ticks of logarithmic axes: plain numbers, as many as have room. Imported on use, for it imports matplotlib."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import FixedLocator, FuncFormatter, Locator, MaxNLocator, NullFormatter

from saebench_lite.plots.lines import width_of

APART = 0.5
"Least space between two numbers, as a part of the height of their letters."


def log_x(place: Axes, values: Sequence[float] | None = None) -> None:
    """Makes the horizontal axis logarithmic, its numbers taken from `values`, or else 1, 2 and 5 times powers of ten.

    Args:
        place: axes of matplotlib.
        values: where numbers may stand, rising; those without room have a small tick alone.
    """
    size = FontProperties(size=rcParams["xtick.labelsize"]).get_size_in_points()
    place.set_xscale("log")
    place.tick_params(axis="x", labelsize=size)  # else new ticks are of the style in which they are drawn
    place.xaxis.set_major_locator(_Fitting(place, values, size))
    place.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _text(value)))
    place.xaxis.set_minor_formatter(NullFormatter())
    if values is not None:
        place.xaxis.set_minor_locator(FixedLocator(values))


class _Fitting(Locator):
    """The most numbers of which none lies over another, by the length that the axis has when it is drawn."""

    def __init__(self, place: Axes, values: Sequence[float] | None, size: float) -> None:
        """`size`: of the letters, in points."""
        self.place, self.values, self.size = place, values, size

    def __call__(self) -> list[float]:
        return self.tick_values(*self.place.get_xlim())

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        low, high = sorted((vmin, vmax))
        if not 0 < low < high < math.inf:
            return []
        if self.values is not None:
            return self._thinned([v for v in self.values if low <= v <= high], low, high)
        inside = ([v for v in some if low <= v <= high] for some in _choices(low, high))
        return next((some for some in inside if len(some) > 1 and self._fit(some, low, high)), [])

    def _thinned(self, values: Sequence[float], low: float, high: float) -> list[float]:
        """The values from the left that have room beside those before them."""
        kept: list[float] = []
        for value in values:
            if self._fit([*kept[-1:], value], low, high):
                kept.append(value)
        return kept

    def _fit(self, values: Sequence[float], low: float, high: float) -> bool:
        """Whether the numbers of rising values lie apart on an axis from `low` to `high`."""
        inches = self.place.bbox.width / self.place.figure.dpi / math.log(high / low)
        ends = [(math.log(v / low) * inches, width_of(_text(v), self.size) / 2) for v in values]
        space = APART * self.size / 72
        return all(b - a > half + other + space for (a, half), (b, other) in pairwise(ends))


def _choices(low: float, high: float) -> Iterator[list[float]]:
    """Ticks from `low` to `high`, ever fewer: of each decade, then of each second one and so on.

    Where not three of them lie between the ends, round numbers at equal distances come first.
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = {e: [m * 10.0**e for m in (1, 2, 5)] for e in range(first, last + 1)}
    of_each = [v for of in decades.values() for v in of]
    if sum(low <= v <= high for v in of_each) < 3:
        yield from (list(MaxNLocator(n).tick_values(low, high)) for n in range(8, 0, -1))
    yield of_each
    yield from ([of[0] for e, of in decades.items() if e % step == 0] for step in range(1, len(decades) + 1))


def _text(value: float) -> str:
    return f"{value:g}"
