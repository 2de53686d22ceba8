"""Coalition matching: a case worked by hand, planted unions, an independent loop."""

import numpy as np
import pytest
import torch
from sklearn.metrics import fbeta_score

from tests.experiments.coalition import coalition, f_beta

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
