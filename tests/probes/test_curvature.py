"""Second derivatives of batches: Gram matrices, factors, and what is kept of them leaves the optimum where it is."""

from itertools import pairwise

import pytest
import torch

from saebench_lite.probes import curvature as of
from saebench_lite.probes.logistic import fit_logistic, scores
from saebench_lite.probes.newton import minimise

G = torch.Generator().manual_seed(0)


def test_a_matrix_that_is_not_definite_is_solved_all_the_same():
    x = torch.cat([torch.zeros(1, 1, 4), torch.ones(1, 1, 4)], 1).double()
    flat = torch.tensor([1.0, -2e-10]).double()  # 1e-10 is added to it
    raised = of.factors(x, x, torch.zeros(1, 4).double(), flat[None])
    assert raised.isfinite().all()
    assert (raised.diagonal(dim1=-2, dim2=-1) > 0).all()
    one = of.factors(x, x, torch.ones(1, 4).double(), torch.ones(1, 2).double())
    torch.testing.assert_close(one, torch.tensor([[[1.0, 0], [0, 5]]]).double().sqrt())
    y, weight = torch.tensor([[1.0, 1, 1, 0]]).double(), torch.ones(1, 4).double()
    w = minimise(x, y, weight, torch.zeros(1, 2).double(), torch.tensor([1e-12]).double(), 100)
    torch.testing.assert_close(w, torch.tensor([[0.0, 3.0]]).log().clamp(min=0).double(), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("k", [2, of.NARROW + 1, of.WIDE])
@pytest.mark.parametrize("odd", [torch.nan, torch.inf, 1e160])
def test_numbers_that_are_not_finite_end_a_fit_and_leave_others_alone(k, odd):
    x = torch.randn(2, 50, k, generator=G).double()
    x[0, 3, 1] = odd
    y = x[..., 0] > 0.1
    args = torch.ones_like(y), torch.ones(2)
    got = fit_logistic(x, y, *args)
    want = fit_logistic(x[1:], y[1:], *args)
    torch.testing.assert_close(got.weight[1], want.weight[0], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("c", [1.0, 1e6])
def test_gram_matrices_in_float32_leave_the_optimum_where_it_is(monkeypatch, c):
    """Two columns are nearly one, at a weak and at a strong penalty."""
    x = torch.randn(2, 300, of.WIDE, generator=G)
    x[..., 1] = x[..., 0] + 1e-5 * x[..., 1]
    y = x[..., 0] + torch.randn(2, 300, generator=G) > 0
    strength, kinds = torch.full((2,), c), []
    real = of.gram
    monkeypatch.setattr(of, "gram", lambda x, rows: kinds.append(x.dtype) or real(x, rows))
    got = fit_logistic(x, y, torch.ones_like(y), strength, tol=1e-12)
    assert torch.float32 in kinds
    monkeypatch.setattr(of, "NARROW", 1000)
    kinds.clear()
    want = fit_logistic(x, y, torch.ones_like(y), strength, tol=1e-12)
    assert set(kinds) == {torch.float64}
    torch.testing.assert_close(scores(got, x), scores(want, x), rtol=1e-7, atol=1e-7)


def test_a_matrix_that_float32_leaves_indefinite_is_computed_in_float64(monkeypatch):
    x, rounded_away = torch.randn(1, 3, 300, generator=G).double(), torch.zeros(1, 3, 300)
    kinds = []
    real = of.gram
    monkeypatch.setattr(of, "gram", lambda x, rows: kinds.append(x.dtype) or real(x, rows))
    ones, ridge = torch.ones(1, 300).double(), torch.full((1, 3), -1e-9).double()
    got = of.factors(x, rounded_away, ones, ridge)
    assert kinds == [torch.float32, torch.float64]
    torch.testing.assert_close(got, torch.linalg.cholesky(x @ x.mT))


def test_numbers_beyond_float32_are_multiplied_in_float64():
    x, ones = torch.randn(1, of.NARROW + 2, 300, generator=G).double(), torch.ones(1, 300).double()
    x[:, 3] *= 1e20
    ridge = torch.ones(1, of.NARROW + 2).double()
    want = torch.linalg.cholesky(x @ x.mT + torch.diag_embed(ridge))
    torch.testing.assert_close(of.factors(x, of.coarse(x), ones, ridge), want)


@pytest.mark.parametrize("k", [5, of.WIDE + 1, of.WIDE + 2, 129])
@pytest.mark.parametrize("core", [1, of.CORE])
def test_gram_matrices_are_sums_over_rows(monkeypatch, k, core):
    """In the lower triangle, which is what is read; some rows do not count."""
    monkeypatch.setattr(of, "CORE", core)
    x, rows = torch.randn(2, k, 30, generator=G).double(), torch.rand(2, 30, generator=G).double()
    x[:, -1] = 1
    rows[0, ::3] = 0
    want = torch.einsum("bin,bn,bjn->bij", x, rows, x)
    torch.testing.assert_close(of.gram(x, rows).tril(), want.tril())
    shared = torch.einsum("in,bn,jn->bij", x[0], rows, x[0])
    torch.testing.assert_close(of.gram(x[:1], rows).tril(), shared.tril())


@pytest.mark.parametrize("k", [of.NARROW + 1, 24, 51, of.WIDE - 1, of.WIDE + 1])
def test_columns_of_zeros_are_no_part_of_factors(k):
    x, rows, ridge = (torch.rand(*size, generator=G).double() for size in ((2, k, 200), (2, 200), (2, k)))
    rounded = of.coarse(x)
    assert rounded.dtype == torch.float32
    assert rounded.shape[1] == (k if k > of.WIDE else -(-k // 8) * 8)
    want = torch.linalg.cholesky(torch.einsum("bin,bn,bjn->bij", x, rows, x) + torch.diag_embed(ridge))
    torch.testing.assert_close(of.factors(x, rounded, rows, ridge), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shared", [False, True])
def test_wide_problems_keep_second_derivatives_while_steps_are_good(monkeypatch, shared):
    x = torch.randn(1 if shared else 3, 400, of.WIDE, generator=G)
    y = x[..., 0] + torch.randn(3, 400, generator=G) > 0
    grams = []
    real = of.gram
    monkeypatch.setattr(of, "gram", lambda x, rows: grams.append(len(rows)) or real(x, rows))

    def fitted(keep: float) -> tuple[torch.Tensor, int]:
        monkeypatch.setattr(of, "KEEP", keep)
        grams.clear()
        got = fit_logistic(x, y, torch.ones_like(y), torch.tensor([0.01, 1.0, 30.0]), tol=1e-12)
        return scores(got, x), sum(grams)

    (newton, all_of_them), (kept, some), (most, fewer) = map(fitted, (0.0, 0.3, 0.7))
    torch.testing.assert_close(kept, newton, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(most, newton, rtol=1e-8, atol=1e-8)
    assert fewer <= some < all_of_them


def test_steps_and_changes_of_the_gradient_correct_factors_as_bfgs_does():
    """Against the matrix itself: H <- (I - r s g^T) H (I - r g s^T) + r s s^T for each pair in turn."""
    k, b = of.WIDE, 2
    x, rows = torch.randn(b, k, 200, generator=G).double(), torch.rand(b, 200, generator=G).double()
    second = of.SecondDerivatives(x, torch.ones(b, k).double())
    second.renew(torch.full((b,), torch.inf).double(), rows)
    inverse = torch.cholesky_inverse(of.factors(x, x.float(), rows, torch.ones(b, k).double()))
    one = torch.eye(k).double()
    for _ in range(of.PAIRS + 2):
        step = torch.randn(b, k, generator=G).double()
        change = step * torch.rand(b, k, generator=G).double()
        second.learn(step, change)
    pairs = second._pairs
    for step, change, scale in pairs:
        turned = one - scale[:, None, None] * step[..., None] * change[:, None]
        inverse = turned @ inverse @ turned.mT + scale[:, None, None] * step[..., None] * step[:, None]
    assert len(pairs) == of.PAIRS
    gradient = torch.randn(b, k, generator=G).double()
    torch.testing.assert_close(second.solve(gradient), (inverse @ gradient[..., None])[..., 0])
    second.keep(torch.tensor([False, True]))
    torch.testing.assert_close(second.solve(gradient[1:]), (inverse @ gradient[..., None])[1:, :, 0])


def test_a_step_against_the_curvature_is_not_learned():
    second = of.SecondDerivatives(torch.randn(1, of.WIDE, 99, generator=G).double(), torch.ones(1, of.WIDE).double())
    second.renew(torch.ones(1).double(), torch.ones(1, 99).double())
    gradient = torch.randn(1, of.WIDE, generator=G).double()
    before = second.solve(gradient)
    second.learn(gradient, -gradient)
    second.learn(torch.zeros_like(gradient), torch.zeros_like(gradient))
    torch.testing.assert_close(second.solve(gradient), before)


def test_steps_before_second_derivatives_are_forgotten_where_these_are_new():
    x, ridge, rows = (
        torch.randn(2, of.WIDE, 99, generator=G).double(),
        torch.ones(2, of.WIDE).double(),
        torch.ones(2, 99),
    )
    second, anew = (of.SecondDerivatives(x, ridge) for _ in range(2))
    gradient = torch.randn(2, of.WIDE, generator=G).double()
    for each in (second, anew):
        each.renew(torch.ones(2), rows.double())
    second.learn(gradient, 3 * gradient)
    learned = second.solve(gradient)
    second.renew(torch.tensor([0.1, 0.9]), rows.double())
    torch.testing.assert_close(second.solve(gradient)[0], learned[0])
    torch.testing.assert_close(second.solve(gradient)[1], anew.solve(gradient)[1])
    assert ((learned - anew.solve(gradient)).abs().amax(1) > 1e-4).all()


def test_only_those_whose_step_was_bad_are_computed_anew():
    x, ridge = torch.randn(2, of.WIDE, 99, generator=G).double(), torch.ones(2, of.WIDE).double()
    second = of.SecondDerivatives(x, ridge)
    seen = []
    for left, rows in (([0.0, 0.0], 1.0), ([0.1, 0.9], 2.0), ([0.1, 0.1], 3.0)):
        second.renew(torch.tensor(left).double(), torch.full((2, 99), rows).double())
        seen.append((second.fresh.tolist(), second.solve(torch.ones_like(ridge))))
    assert [fresh for fresh, _ in seen] == [[True, True], [False, True], [False, False]]
    changed = [(a != b).any(1).tolist() for (_, a), (_, b) in pairwise(seen)]
    assert changed == [[False, True], [False, False]]
