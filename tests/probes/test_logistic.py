"""Batched probes against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from saebench_lite.api.probe_types import Direction
from saebench_lite.probes import strengths
from saebench_lite.probes.logistic import diff_in_means, fit_logistic, scores
from saebench_lite.probes.validated import GRID, fit_logistic_validated, folds


def problem(n=200, k=6, seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, k)) * scale * np.geomspace(0.1, 10, k)
    y = (x[:, 0] / scale * 5 + x[:, -1] / scale / 20 + rng.normal(size=n)) > 0
    return torch.tensor(x), torch.tensor(y)


@pytest.mark.parametrize("c", [1e-3, 1.0, 100.0])
def test_logistic_matches_scikit_learn(c):
    xs, ys = zip(*(problem(seed=s) for s in range(3)), strict=True)
    x, y = torch.stack(xs), torch.stack(ys)
    use = torch.rand(y.shape, generator=torch.Generator().manual_seed(1)) < 0.7
    fitted = fit_logistic(x, y, use, torch.full((3,), c))
    for b in range(3):
        reference = LogisticRegression(C=c, tol=1e-10, max_iter=10_000, solver="newton-cholesky")
        reference.fit(x[b][use[b]], y[b][use[b]])
        np.testing.assert_allclose(fitted.weight[b], reference.coef_[0], rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(fitted.bias[b], np.ravel(reference.intercept_)[0], rtol=1e-4, atol=1e-5)


def test_logistic_survives_separable_data():
    x = torch.linspace(-1, 1, 20)[None, :, None] + torch.tensor([0.0])
    fitted = fit_logistic(x, x[..., 0] > 0, torch.ones(1, 20), torch.tensor([1e5]))
    assert torch.isfinite(fitted.weight).all()
    assert ((scores(fitted, x) > 0) == (x[..., 0] > 0)).all()


def test_rows_left_out_do_not_matter():
    x, y = problem()
    use = torch.arange(200) < 150
    other = x.clone()
    other[150:] = 1e3
    a = fit_logistic_validated(x[None], y[None], use[None])
    b = fit_logistic_validated(other[None], y[None], use[None])
    assert torch.equal(a.weight, b.weight)


def test_validated_fit_ignores_the_scale_of_columns():
    x, y = problem()
    stretched = x * torch.tensor([1e-3, 1.0, 50.0, 2.0, 1e4, 0.3])
    use = torch.ones(1, 200, dtype=torch.bool)
    a = scores(fit_logistic_validated(x[None], y[None], use), x)
    b = scores(fit_logistic_validated(stretched[None], y[None], use), stretched)
    torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_wide_problem_equals_the_fit_in_all_dimensions():
    x, y = problem(n=40, k=60)
    y = x[:, 0] > 0
    rows = torch.ones(1, 40, dtype=torch.bool)
    wide = fit_logistic_validated(x[None], y[None], rows, grid=(1.0,))
    z = ((x - x.mean(0)) / x.std(0, correction=0)).numpy()
    reference = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit(z, y)
    np.testing.assert_allclose(scores(wide, x)[0], reference.decision_function(z), rtol=1e-4, atol=1e-4)


def test_folds_stay_inside_the_used_rows_and_hold_both_classes():
    y = torch.arange(60)[None] % 3 == 0
    use = torch.arange(60)[None] < 50
    masks = folds(use, y)
    assert masks.shape == (5, 1, 60)
    assert torch.equal(masks.sum(0).bool(), use)
    assert all((m & y).any() and (m & ~y).any() for m in masks)
    (held,) = folds(torch.ones(1, 200), torch.arange(200)[None] % 2)
    assert held[0].nonzero()[:, 0].tolist() == list(range(160, 200))  # the last fifth of each class


def test_a_fit_does_not_depend_on_its_company():
    g = torch.Generator().manual_seed(5)
    x = torch.randn(2, 400, 6, generator=g)
    y = x[..., 0] + 2 * torch.randn(2, 400, generator=g) > 0
    use = torch.ones(2, 400, dtype=torch.bool)
    use[1, 40:] = False
    both = fit_logistic_validated(x, y, use)
    for i in range(2):
        alone = fit_logistic_validated(x[i : i + 1], y[i : i + 1], use[i : i + 1])
        torch.testing.assert_close(both.weight[i], alone.weight[0], rtol=1e-6, atol=1e-8)


def test_small_problems_get_the_strength_of_a_plain_loop_over_folds():
    """Fold by fold and strength by strength, each fit from zero; problems of several sizes, more columns than rows."""
    g = torch.Generator().manual_seed(6)
    x, use = torch.randn(6, 60, 40, generator=g), torch.arange(60) < torch.tensor([60, 32, 24, 60, 41, 20])[:, None]
    y = x[..., 0] + x[..., 1] + torch.tensor([0.1, 1, 3, 9, 0.3, 2])[:, None] * torch.randn(6, 60, generator=g) > 0
    together = fit_logistic_validated(x, y, use)
    chosen = []
    for i in range(6):
        rows, labels = x[i][use[i]].double(), y[i][use[i]]
        z = (rows - rows.mean(0)) / rows.std(0, correction=0)
        losses = torch.zeros(len(GRID), dtype=torch.float64)
        for held in folds(torch.ones_like(labels)[None], labels[None])[:, 0]:
            for j, c in enumerate(GRID):
                fitted = fit_logistic(
                    z[~held][None], labels[~held][None], torch.ones(1, int((~held).sum())), torch.tensor([c])
                )
                margin = scores(fitted, z[held])[0]
                losses[j] += (torch.nn.functional.softplus(margin) - labels[held].double() * margin).sum()
        chosen.append(int(losses.argmin()))
        final = fit_logistic(z[None], labels[None], torch.ones(1, len(z)), torch.tensor([GRID[chosen[-1]]]), tol=1e-10)
        got = scores(Direction(together.weight[i : i + 1], together.bias[i : i + 1]), rows)
        torch.testing.assert_close(got, scores(final, z), rtol=1e-5, atol=1e-6)
    assert len(set(chosen)) > 1


def test_the_least_loss_is_found_where_it_rises_first(monkeypatch):
    """Losses of 1, 2, 3 and 0.5: the last is the least. Of equal ones the strongest penalty is taken."""
    x, y = problem()
    for losses, best in (([1.0, 2.0, 3.0, 0.5], 1.0), ([1.0, 0.5, 0.5, 2.0], 0.01)):
        left = iter(losses)
        monkeypatch.setattr(strengths, "_log_loss", lambda *a, of=left: torch.tensor([next(of)]).double())
        got = fit_logistic_validated(x[None], y[None], torch.ones_like(y)[None], grid=(0.001, 0.01, 0.1, 1.0))
        monkeypatch.undo()
        want = fit_logistic_validated(x[None], y[None], torch.ones_like(y)[None], grid=(best,))
        torch.testing.assert_close(got.weight, want.weight, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("k", [3, 70])
def test_numbers_with_a_gradient_are_fitted_as_others(k):
    x = torch.randn(1, 200, k, generator=torch.Generator().manual_seed(1))
    y = x[..., 0] > torch.tensor([[0.0], [0.3]])
    args = y, torch.ones_like(y), torch.ones(2)
    want = fit_logistic(x, *args)
    got = fit_logistic(x.requires_grad_(), *args)
    assert not got.weight.requires_grad
    assert torch.equal(got.weight, want.weight)


def test_difference_in_means_by_hand():
    x = torch.tensor([[0.0, 0.0], [2.0, 0.0], [4.0, 2.0], [9.0, 9.0]])
    fitted = diff_in_means(x, torch.tensor([[0, 1, 1, 0]]), torch.tensor([[1, 1, 1, 0]]))
    assert fitted.weight.tolist() == [[3.0, 1.0]]
    assert scores(fitted, x).tolist() == [[-5.0, 1.0, 9.0, 31.0]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_directions_of_any_type_score(dtype):
    x, weight, bias = torch.randn(5, 3), torch.tensor([[1.0, 2.0, -1.0]]), torch.tensor([0.5])
    want = (x.double() @ weight[0].double() + 0.5)[None]
    for rows in (x, x[None]):
        got = scores(Direction(weight.to(dtype), bias.to(dtype)), rows)
        assert got.dtype == torch.float64
        torch.testing.assert_close(got, want)
