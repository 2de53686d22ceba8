"""Coalition matching: a case worked by hand, planted unions, an independent loop."""

import numpy as np
import pytest
import torch
from sklearn.metrics import fbeta_score

from saebench_lite.metrics.coalitions import coalition, f_beta, swap_scores, union

Y = torch.tensor([True] * 6 + [False] * 6)


def columns(*rows: range | tuple[int, ...]) -> torch.Tensor:
    out = torch.zeros(12, len(rows), dtype=torch.bool)
    for i, fire in enumerate(rows):
        out[[r - 1 for r in fire], i] = True
    return out


FOUR = columns(range(1, 4), (4, 5, 7), range(1, 11), (1, 2))


def test_worked_by_hand():
    assert f_beta(FOUR, Y, 1.0).tolist() == pytest.approx([2 / 3, 4 / 9, 3 / 4, 1 / 2])
    assert coalition(FOUR, Y) == [0, 1]  # precise latents first: their union has F1 10/12
    assert coalition(FOUR, Y, beta=1.0) == [2]  # one broad latent, after which nothing helps


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_f_beta_is_scikit_learns(beta):
    draw = torch.Generator().manual_seed(0)
    fires, y = torch.rand(80, 7, generator=draw) < 0.3, torch.rand(80, generator=draw) < 0.4
    expected = [fbeta_score(y, fires[:, i], beta=beta) for i in range(7)]
    np.testing.assert_allclose(f_beta(fires, y, beta), expected)


def test_a_planted_union_comes_back_and_order_of_columns_is_nothing():
    draw = torch.Generator().manual_seed(1)
    noise = torch.rand(300, 20, generator=draw) < 0.1
    parts = torch.zeros(300, 3, dtype=torch.bool)
    for i in range(3):
        parts[40 * i : 40 * (i + 1), i] = True
    y = parts.any(1)
    fires = torch.cat([noise, parts], 1)
    assert sorted(coalition(fires, y)) == [20, 21, 22]
    order = torch.randperm(23, generator=draw)
    assert sorted(order[coalition(fires[:, order], y)].tolist()) == [20, 21, 22]


def test_nothing_fires():
    assert coalition(torch.zeros(12, 3, dtype=torch.bool), Y) == []


def test_a_union_fires_where_any_member_does():
    fires = torch.tensor([[1, 0, 0], [0, 0, 1], [1, 1, 0], [0, 1, 0]]).bool()
    assert union(fires, [0, 2]).tolist() == [True, True, True, False]
    assert union(fires, []).tolist() == [False] * 4


def loop(fires, pairs, adds, removes, untouched) -> list[tuple[float, float]]:
    """The definition, pair by pair."""
    out = []
    for (first, second), add, remove, still in zip(pairs, adds, removes, untouched, strict=True):
        change = [int(b) - int(a) for a, b in zip(fires[first], fires[second], strict=True)]
        tapa = (change[add] if add >= 0 else 0) - (change[remove] if remove >= 0 else 0)
        moved = [abs(c) for c, s in zip(change, still, strict=True) if s]
        out.append((float(tapa), sum(moved) / len(moved) if moved else float("nan")))
    return out


def test_swaps_against_the_definition_and_its_range():
    g = torch.Generator().manual_seed(0)
    fires = torch.rand(30, 5, generator=g) < 0.5
    pairs, adds, removes = (torch.randint(0, n, s, generator=g) for n, s in ((30, (50, 2)), (5, (50,)), (5, (50,))))
    adds[:5], removes[5:10] = -1, -1
    untouched = torch.rand(50, 5, generator=g) < 0.4
    got = torch.stack(swap_scores(fires, pairs, adds, removes, untouched), 1)
    np.testing.assert_allclose(got, loop(fires.tolist(), pairs.tolist(), adds, removes, untouched.tolist()))
    assert got[:, 0].min() == -2
    assert got[:, 0].max() == 2
    back, leak = swap_scores(fires, pairs.flip(1), removes, adds, untouched)
    np.testing.assert_allclose(torch.stack([back, leak], 1), got)  # a pair read backwards says the same


def test_known_swaps():
    fires = torch.tensor([[1, 0, 1], [0, 1, 1]]).bool()
    one, other, pair = torch.tensor([1]), torch.tensor([0]), torch.tensor([[0, 1]])
    still = torch.tensor([[False, False, True]])
    assert [x.item() for x in swap_scores(fires, pair, one, other, still)] == [2, 0]
    assert [x.item() for x in swap_scores(fires, pair, other, one, ~still)] == [-2, 1]
    assert [x.item() for x in swap_scores(fires, pair, one, torch.tensor([-1]), still)] == [1, 0]
    assert [x.item() for x in swap_scores(fires & False, pair, one, other, still)] == [0, 0]  # a null SAE
