"""Cosines and nth projections of decoder rows against float64 loops, published and hand-made cases."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from saebench_lite.metrics.feature_mixing import absolute_cosines, nth_projection, random_cosine


def c_dec(w: torch.Tensor, block: int = 64) -> float:
    return absolute_cosines(w, block).mean().item()


def error(w: torch.Tensor) -> float:
    return float(absolute_cosines(w, 64).std().item() / len(w) ** 0.5)


def rows(m: int = 23, d: int = 7, seed: int = 0) -> torch.Tensor:
    return torch.randn(m, d, generator=torch.Generator().manual_seed(seed))


def by_loops(w: np.ndarray) -> float:
    """Mean |cos| over pairs, one pair at a time."""
    found = []
    for i, j in combinations(range(len(w)), 2):
        size = math.sqrt((w[i] @ w[i]) * (w[j] @ w[j]))
        found.append(abs(w[i] @ w[j]) / size if size else 0.0)
    return float(np.mean(found))


@pytest.mark.parametrize("block", [1, 7, 23, 1000])
def test_mean_cosine_and_its_jackknife_match_loops(block: int):
    w = rows()
    w[4] = 0.0
    exact = w.double().numpy()
    without = np.array([by_loops(np.delete(exact, i, 0)) for i in range(23)])
    assert c_dec(w, block) == pytest.approx(by_loops(exact), abs=1e-6)
    assert error(w) == pytest.approx(math.sqrt(22 * without.var()), rel=1e-4)


def test_the_standard_error_is_the_spread_over_dictionaries_drawn_anew():
    """Rows around a common direction, of which each dictionary draws 60 others."""
    drawn = [rows(60, 12, seed) + 0.5 for seed in range(300)]
    spread = np.std([c_dec(w) for w in drawn], ddof=1)
    assert np.mean([error(w) for w in drawn]) == pytest.approx(spread, rel=0.12)


def test_worked_case():
    """Rows (1, 0), (.6, .8), (0, -2), bias (0, 1): cosines .6, 0, -.8; projections 2, 1.6, 1.2, 0, 0, -2."""
    w = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, -2.0]])
    x = torch.tensor([[2.0, 1.0], [0.0, 3.0]]) - torch.tensor([0.0, 1.0])
    assert c_dec(w, 2) == pytest.approx(1.4 / 3)
    assert [nth_projection(x, w, n, 9) for n in range(3)] == pytest.approx([2.0, 1.2, 0.0])
    stretched = w * torch.tensor([1.0, 3.0, 1.0])[:, None]
    assert nth_projection(x, stretched, 1, 9) == pytest.approx(1.2)


def test_known_dictionaries():
    eye = torch.eye(6)
    assert c_dec(eye, 4) == 0.0
    assert c_dec(torch.stack([eye[0], -eye[0]]), 4) == 1.0
    assert math.isnan(c_dec(eye[:1], 4))
    assert c_dec(rows(1500, 64, 3), 512) == pytest.approx(random_cosine(64), rel=0.01)  # 1 / (4 d) above first order


def test_nth_projection_matches_a_sort():
    x, w = rows(11, 7, 1), rows(23, 7, 2)
    w[5] = 0.0
    size = np.linalg.norm(w.double().numpy(), axis=1, keepdims=True)
    z = x.double().numpy() @ (w.double().numpy() / np.where(size > 0, size, 1.0)).T
    ordered = np.sort(z.ravel())[::-1]
    for n in (0, 1, 9, 22):
        found = [nth_projection(x, w, n, block) for block in (1, 9, 23)]
        assert found == pytest.approx([ordered[n * 11]] * 3, abs=1e-5)


def test_order_scale_and_rotation_do_not_matter():
    x, w = rows(11, 7, 1), rows(23, 7, 2)
    order = torch.randperm(23, generator=torch.Generator().manual_seed(4))
    stretch = torch.linspace(0.1, 9, 23)[:, None]
    turn = torch.linalg.qr(rows(7, 7, 5)).Q
    changed = (w * stretch)[order] @ turn
    assert c_dec(changed, 9) == pytest.approx(c_dec(w), abs=1e-6)
    assert error(changed) == pytest.approx(error(w), rel=1e-4)
    assert nth_projection((x @ turn).flip(0), changed, 8, 9) == pytest.approx(nth_projection(x, w, 8, 9), abs=1e-5)
