"""The best latents over blocks: any cut of the latents gives the same ones, and ties go to the lower index."""

import numpy as np
import pytest
import torch

from saebench_lite.probes import latent_selection
from saebench_lite.probes.latent_selection import (
    RankedColumns,
    first_largest,
    merged,
    merged_columns,
    ranked,
    ranked_columns,
)


def stable(score: torch.Tensor, k: int) -> torch.Tensor:
    """The rule in numpy: by score, then by index."""
    return torch.tensor(np.argsort(-score.numpy(), axis=-1, kind="stable")[..., :k].copy())


@pytest.mark.parametrize("shape", [(23,), (4, 23), (2, 3, 23)])
@pytest.mark.parametrize("k", [1, 5, 23, 40])
def test_ties_go_to_the_lower_index(shape, k):
    score = torch.randint(0, 4, shape, generator=torch.Generator().manual_seed(0)).double()
    assert torch.equal(first_largest(score, k), stable(score, k))
    assert first_largest(torch.zeros(9), 3).tolist() == [0, 1, 2]
    assert first_largest(torch.tensor([torch.nan, 1.0, torch.nan, 2.0]), 3).tolist() == [3, 1, 0]


@pytest.mark.parametrize("width", [1, 4, 7, 100])
@pytest.mark.parametrize("problems", [(), (3,)])
def test_blocks_change_neither_latents_nor_codes(width, problems):
    g = torch.Generator().manual_seed(1)
    score = torch.randint(0, 5, (*problems, 30), generator=g).float()
    table = torch.randn(11, 30, generator=g)
    best, codes = None, None
    for low in range(0, 30, width):
        part = score[..., low : low + width]
        best = merged(best, ranked(part, low, 6), 6)
        block = table[:, low : low + width]
        codes = merged_columns(codes, ranked_columns(part, low, 6, lambda top, b=block: b.T[top].mT), 6)
    assert best is not None
    assert isinstance(codes, RankedColumns)
    want = stable(score, 6)
    assert torch.equal(best.latent, want)
    assert torch.equal(codes.latent, want)
    assert torch.equal(codes.score, score.gather(-1, want))
    assert torch.equal(codes.columns, table.T[want].mT)


def test_differences_of_many_sets_are_those_of_each(monkeypatch):
    """Sets that share texts or not, with texts drawn several times, in any order."""
    g = torch.Generator().manual_seed(0)
    table = torch.randn(50, 30, generator=g).relu()
    table[:, 3] = 0.0
    sets = [
        (torch.randint(5, 50, (40,), generator=g), torch.rand(40, generator=g) < share) for share in (0.1, 0.5, 0.9)
    ]
    sets.append((torch.arange(12), torch.arange(12) < 2))
    monkeypatch.setattr(latent_selection, "STRIP", 50 * 8 * 7)  # strips of seven columns
    got = latent_selection.class_differences_of_sets(table, sets, 0.05)
    want = torch.stack([latent_selection.class_differences(table, *s, "standardised", 0.05) for s in sets])
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-7)
    assert (got[:, 3] == 0).all()
