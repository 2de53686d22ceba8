"""Codes by FISTA against scikit-learn's lasso and scipy's non-negative least squares."""

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from sklearn.linear_model import Lasso

from saebench_lite.metrics.latents import unit_rows
from saebench_lite.metrics.sparse_coding import fista, penalty_for


def problem(t: int = 12, m: int = 20, d: int = 15) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    rows = unit_rows(torch.randn(m, d, generator=g)).float()
    f = (torch.randn(t, m, generator=g) - 1).relu()
    return f @ rows + 0.05 * torch.randn(t, d, generator=g), rows


def test_the_lasso_of_scikit_learn():
    x, rows = problem()
    got = fista(x, rows, 0.2, 3000)
    for i in range(len(x)):
        model = Lasso(alpha=0.2 / x.shape[1], positive=True, fit_intercept=False, tol=1e-12, max_iter=100_000)
        model.fit(rows.T.double().numpy(), x[i].double().numpy())
        assert got[i].numpy() == pytest.approx(model.coef_, abs=1e-4)


def test_non_negative_least_squares_of_scipy_on_a_support():
    x, rows = problem()
    support = torch.rand(12, 20, generator=torch.Generator().manual_seed(1)) < 0.4
    got = fista(x, rows, 0.0, 5000, support)
    assert not got[~support].any()
    for i in range(len(x)):
        want = np.zeros(20)
        want[support[i]] = nnls(rows[support[i]].T.double().numpy(), x[i].double().numpy())[0]
        assert got[i].numpy() == pytest.approx(want, abs=1e-3)


def test_orthogonal_directions_are_soft_thresholded_in_one_step():
    rows = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(2))).Q
    f = torch.tensor([[3.0, 0, 1, 0, 0, 0.1, 0, 0]])
    assert torch.allclose(fista(f @ rows, rows, 0.5, 1), (f - 0.5).relu(), atol=1e-5)


def test_the_penalty_gives_the_l0_that_is_asked_for():
    x, rows = problem(400, 60, 30)
    for l0 in (2.0, 6.0, 10.0):
        found = fista(x, rows, penalty_for(x, rows, l0, 100), 100)
        assert (found > 0).sum(1).double().mean().item() == pytest.approx(l0, rel=0.03)


def test_the_order_of_latents_and_tokens_does_not_matter():
    x, rows = problem()
    order = torch.randperm(20, generator=torch.Generator().manual_seed(3))
    assert torch.allclose(
        fista(x.flip(0), rows[order], 0.2, 200), fista(x, rows, 0.2, 200).flip(0)[:, order], atol=1e-4
    )
