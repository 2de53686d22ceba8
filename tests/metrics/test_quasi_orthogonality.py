"""Norms and the least epsilon against worked cases and numpy in float64."""

import numpy as np
import pytest
import torch

from saebench_lite.metrics.quasi_orthogonality import activation_norm, largest_cosine, least_epsilon


def rows(m: int, d: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(m, d, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("code", "sizes", "square", "eps"),
    [
        ([0, 0, 4.2], [1, 1, 1], 18.64, 0.170601),
        ([0, 1.5, 2.1], [1, 2, 1], 14.41, 0.367453),
    ],
)
def test_worked_cases(code: list[float], sizes: list[float], square: float, eps: float):
    """x = (3, 4), bias (0, 1), three latents."""
    norm = activation_norm(torch.tensor([code]), torch.tensor(sizes), 1.0)
    assert norm.square().item() == pytest.approx(square, rel=1e-6)
    assert least_epsilon(torch.tensor([5.0]), norm, 2.0).item() == pytest.approx(eps, abs=1e-6)


def test_orthogonal_directions_have_the_norm_of_their_sum():
    f = rows(50, 8).relu()
    z = f @ torch.linalg.qr(rows(8, 8, 1)).Q
    norm = activation_norm(f, torch.ones(8), 0.0)
    assert torch.allclose(norm, z.double().norm(dim=1), atol=1e-5)
    assert least_epsilon(z.norm(dim=1), norm, 7.0).max() < 1e-6


def test_the_least_epsilon_is_below_that_of_the_directions():
    """The theorem, for reconstructions of random dictionaries: over active directions, and over all."""
    w = rows(30, 40, 2)
    w /= w.norm(dim=1, keepdim=True)
    f = (rows(200, 30, 3) - 1).relu()
    f[:, 0] += 0.1
    eps = largest_cosine(w, 7)
    z, norm = (f @ w).norm(dim=1), activation_norm(f, torch.ones(30), 0.0)
    active = (f > 0).sum(1).double() - 1
    found = least_epsilon(z, norm, active)
    assert found[active > 0].max() <= eps
    assert least_epsilon(z, norm, 29.0).max() <= eps
    assert torch.equal(found.isnan(), active == 0)


def test_largest_cosine_matches_numpy_in_any_blocks():
    w = rows(23, 9, 4) * torch.linspace(0.1, 3, 23)[:, None]
    w[3] = 0
    unit = w.double().numpy() / np.maximum(np.linalg.norm(w.double().numpy(), axis=1, keepdims=True), 1e-300)
    want = np.abs(unit @ unit.T)[np.triu_indices(23, 1)].max()
    assert [largest_cosine(w, block) for block in (1, 5, 23, 99)] == pytest.approx([want] * 4, abs=1e-6)
    assert np.isnan(largest_cosine(w[:1], 4))
    assert largest_cosine(torch.stack([w[0], -2 * w[0]]), 4) == pytest.approx(1.0)


def test_no_code_and_one_direction_can_say_nothing():
    z, none = torch.tensor([2.0]), torch.tensor([0.0])
    assert least_epsilon(z, none, 3.0).isnan().all()
    assert least_epsilon(z, z, torch.tensor([0.0])).isnan().all()
