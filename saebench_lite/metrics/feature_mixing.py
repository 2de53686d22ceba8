"""How far decoder rows mix several features: their pairwise cosines, and the nth largest decoder projection.

Source: Chanin & Garriga-Alonso, "Sparse but Wrong" (arXiv:2508.16560), whose toy models have the least of both at the
true L0. Pure functions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from saebench_lite.metrics.latents import unit_rows

HALF = 1 << 15
"Half of the values that 16 bits can have."


def absolute_cosines(rows: Tensor, block: int) -> Tensor:
    """Jackknife pseudo-values [m] float64 of c_dec, the mean over pairs i < j of |cos(w_i, w_j)|. rows [m, d]

    Their mean is c_dec, their standard deviation over sqrt(m) its standard error over rows (Arvesen 1969, on means
    over pairs). A zero row has cosine 0 with all others; all are NaN for fewer than two rows. Products run in float32,
    in blocks of `block` rows, sums in float64.
    """
    m = len(rows)
    if m < 2:
        return torch.full((m,), torch.nan, dtype=torch.float64, device=rows.device)
    unit = unit_rows(rows).float()
    sums = torch.zeros(m, dtype=torch.float64, device=rows.device)
    for low in range(0, m, block):
        cosines = (unit[low : low + block] @ unit.T).abs_()
        own = torch.arange(len(cosines), device=unit.device)
        cosines[own, own + low] = 0.0
        sums[low : low + block] = cosines.sum(1, dtype=torch.float64)
    return sums if m == 2 else sums.sum() / (m - 1) - (sums.sum() - 2 * sums) / (m - 2)


def random_cosine(d: int) -> float:
    """E |cos| of two independent random directions of d dimensions, to first order in 1 / d: sqrt(2 / (pi d))."""
    return math.sqrt(2 / (math.pi * d))


def nth_projection(x: Tensor, rows: Tensor, n: int, block: int) -> float:
    """s_n^dec of a batch: the value at place n b (from 0) among all b m projections, sorted from the largest.

    The projections are x . w_i / |w_i|; the paper leaves rows as they are, which are of norm 1 there. Found by radix
    selection in two passes over `block` rows at a time, so that memory decides nothing: the upper 16 bits of the
    float32 value first, then the lower.

    Args:
        x: activations less the decoder's bias. [b, d]
        rows: decoder rows; a zero row has the projection 0. [m, d]
        n: place, in latents a token; 0 <= n < m.
        block: rows whose projections are in memory at once.
    """
    x, parts = x.float(), unit_rows(rows).float().split(block)
    kept = [_sortable(x @ part.T) for part in parts] if len(parts) == 1 else None

    def keys() -> Iterator[Tensor]:
        yield from kept if kept is not None else (_sortable(x @ part.T) for part in parts)

    upper, place = _nth(((key >> 16) + HALF for key in keys()), n * len(x))
    lower, _ = _nth((key[(key >> 16) + HALF == upper] & (2 * HALF - 1) for key in keys()), place)
    found = torch.tensor(((upper - HALF) << 16) | lower, dtype=torch.int32)
    return _sortable(found.view(torch.float32)).view(torch.float32).item()


def _sortable(z: Tensor) -> Tensor:
    """float32 numbers as int32 of the same order; of its own result's bits it is the inverse."""
    bits = z.view(torch.int32)
    return torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


def _nth(digits: Iterable[Tensor], place: int) -> tuple[int, int]:
    """The digit (0 to 2 HALF - 1) at a place, from 0, in descending order, and the place within that digit."""
    counts = torch.stack([torch.bincount(d.flatten(), minlength=2 * HALF) for d in digits]).sum(0)
    above = counts.flip(0).cumsum(0).flip(0) - counts  # of larger digits
    digit = int(((above <= place) & (place < above + counts)).nonzero()[0, 0])
    return digit, place - int(above[digit])
