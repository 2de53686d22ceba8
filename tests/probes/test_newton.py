"""Grouped Newton fits: grouping, packing and starting points leave the optimum where it is."""

import pytest
import torch

from saebench_lite.api.probe_types import Direction
from saebench_lite.probes import newton
from saebench_lite.probes.logistic import columns_of, fit_logistic, fit_logistic_validated, scores
from saebench_lite.probes.newton import groups, minimise

G = torch.Generator().manual_seed(0)


def uneven(problems: int = 7, n: int = 90, k: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Problems that use between 30 and 90 rows, scattered."""
    x = torch.randn(problems, n, k, generator=G)
    y = x[..., 0] + 0.5 * torch.randn(problems, n, generator=G) > 0
    use = torch.rand(problems, n, generator=G) < torch.linspace(0.4, 1.0, problems)[:, None]
    return x, y, use


def test_groups_cover_each_problem_once_and_fit_the_cache(monkeypatch):
    monkeypatch.setattr(newton, "CACHE", 8 * 5 * 200)
    found = groups([100, 100, 60, 50, 50, 40, 300][:6], torch.empty(6, 100, 4))
    assert [list(range(6))[s] for s in found] == [[0, 1], [2, 3, 4], [5]]
    assert groups([300, 300], torch.empty(2, 300, 4)) == [slice(0, 1), slice(1, 2)]


@pytest.mark.parametrize("cache", [1, 10_000])
def test_group_size_does_not_change_a_fit(monkeypatch, cache):
    x, y, use = uneven()
    want = fit_logistic_validated(x, y, use)
    monkeypatch.setattr(newton, "CACHE", cache)
    got = fit_logistic_validated(x, y, use)
    torch.testing.assert_close(got.weight, want.weight, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(got.bias, want.bias, rtol=1e-7, atol=1e-7)


def test_problems_on_shared_columns_count_them_once():
    x = torch.empty(1, 1000, 128)
    many = newton.CACHE // (8 * 1000)
    assert groups([1000] * (many + 1), x, shared=True) == [slice(0, many), slice(many, many + 1)]
    assert len(groups([1000] * many, x)) > 10


def test_shared_columns_equal_columns_of_each_problem():
    x, y, use = uneven()
    c = torch.full((7,), 10.0)
    shared = fit_logistic(x[:1], y, use, c)
    each = fit_logistic(x[:1].expand(7, -1, -1), y, use, c)
    torch.testing.assert_close(shared.weight, each.weight, rtol=1e-7, atol=1e-7)


def test_the_start_does_not_move_the_optimum_and_saves_steps(monkeypatch):
    x, y, use = uneven()
    c = torch.full((7,), 10.0)
    grams: list[int] = []
    real = newton.gram
    monkeypatch.setattr(newton, "gram", lambda x, curvature: grams.append(len(curvature)) or real(x, curvature))
    cold = fit_logistic(x, y, use, c, tol=1e-10)
    steps = sum(grams)
    warm = fit_logistic(x, y, use, c, tol=1e-10, start=Direction(cold.weight + 1e-3, cold.bias))
    torch.testing.assert_close(warm.weight, cold.weight, rtol=1e-7, atol=1e-7)
    assert sum(grams) - steps < 2 * steps / 3
    grams.clear()
    fit_logistic(x, y, use, c, start=cold)
    assert grams == []


def test_finished_problems_leave_the_group(monkeypatch):
    x, y, use = uneven()
    grams: list[int] = []
    real = newton.gram
    monkeypatch.setattr(newton, "gram", lambda x, curvature: grams.append(len(curvature)) or real(x, curvature))
    fit_logistic(x, y, use, torch.tensor([1e-6] * 6 + [100.0]))
    assert grams[0] == 7
    assert grams[-1] == 1


def test_a_matrix_that_is_not_definite_is_solved_all_the_same():
    x = torch.cat([torch.zeros(1, 1, 4), torch.ones(1, 1, 4)], 1).double()
    flat = torch.tensor([1.0, -2e-10]).double()  # 1e-10 is added to it
    raised = newton._factors(x, x, torch.zeros(1, 4).double(), flat)
    assert raised.isfinite().all()
    assert (raised.diagonal(dim1=-2, dim2=-1) > 0).all()
    one = newton._factors(x, x, torch.ones(1, 4).double(), torch.ones(2).double())
    torch.testing.assert_close(one, torch.tensor([[[1.0, 0], [0, 5]]]).double().sqrt())
    y, weight = torch.tensor([[1.0, 1, 1, 0]]).double(), torch.ones(1, 4).double()
    w = minimise(x, y, weight, torch.zeros(1, 2).double(), torch.tensor([1e-12]).double(), 100)
    torch.testing.assert_close(w, torch.tensor([[0.0, 3.0]]).log().clamp(min=0).double(), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("k", [3, newton.NARROW + 3, newton.WIDE + 3])
def test_float32_fits_come_near_those_in_float64(k):
    x = torch.randn(5, 300, k, generator=G)
    y = x[..., 0] + torch.randn(5, 300, generator=G) > 0
    columns, weight = columns_of(x), torch.tensor([1e-3, 0.1, 1.0, 10.0, 100.0])[:, None].expand(-1, 300)

    def fitted(of: torch.dtype) -> torch.Tensor:
        return minimise(
            columns.to(of), y.to(of), weight.to(of), torch.zeros(5, k + 1).to(of), torch.zeros(5).to(of), 100
        )

    exact, near = fitted(torch.float64), fitted(torch.float32)
    assert near.dtype == torch.float32
    torch.testing.assert_close(near.double(), exact, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("c", [1.0, 1e6])
def test_gram_matrices_in_float32_leave_the_optimum_where_it_is(monkeypatch, c):
    """At the larger strength rounding leaves matrices that are not definite: two columns are nearly one."""
    x = torch.randn(2, 300, newton.WIDE, generator=G)
    x[..., 1] = x[..., 0] + 1e-5 * x[..., 1]
    y = x[..., 0] + torch.randn(2, 300, generator=G) > 0
    strength, kinds = torch.full((2,), c), []
    real = newton.gram
    monkeypatch.setattr(newton, "gram", lambda x, curvature: kinds.append(x.dtype) or real(x, curvature))
    got = fit_logistic(x, y, torch.ones_like(y), strength, tol=1e-12)
    assert torch.float32 in kinds
    assert (torch.float64 in kinds) == (c > 1)
    monkeypatch.setattr(newton, "WIDE", newton.WIDE + 2)
    want = fit_logistic(x, y, torch.ones_like(y), strength, tol=1e-12)
    torch.testing.assert_close(scores(got, x), scores(want, x), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("k", [5, newton.WIDE + 1, newton.WIDE + 2, 129])
@pytest.mark.parametrize("core", [1, newton.CORE])
def test_gram_matrices_are_sums_over_rows(monkeypatch, k, core):
    """In the lower triangle, which is what is read."""
    monkeypatch.setattr(newton, "CORE", core)
    x, curvature = torch.randn(2, k, 30, generator=G).double(), torch.rand(2, 30, generator=G).double()
    x[:, -1] = 1
    want = torch.einsum("bin,bn,bjn->bij", x, curvature, x)
    torch.testing.assert_close(newton.gram(x, curvature).tril(), want.tril())
    shared = torch.einsum("in,bn,jn->bij", x[0], curvature, x[0])
    torch.testing.assert_close(newton.gram(x[:1], curvature).tril(), shared.tril())


def test_a_share_of_the_first_gradient_is_enough_where_that_is_asked():
    x, y, use = uneven()
    columns, y, weight = columns_of(x), y.double(), 10.0 * use.double()
    args = (columns, y, weight, columns.new_zeros(7, 5))

    def gradient(w: torch.Tensor) -> torch.Tensor:
        residual = weight * (torch.sigmoid(newton.margins(columns, w)) - y)
        return (newton.gradients(columns, residual) + w * torch.tensor([1.0] * 4 + [0])).abs().amax(-1)

    first, tight = gradient(args[-1]), torch.full((7,), 1e-9).double()
    loose = gradient(minimise(*args, tight, 100, share=1e-2))
    assert (loose < 1e-2 * first).all()
    assert (loose > 1e-9).all()
    assert (gradient(minimise(*args, tight, 100)) < 1e-9).all()


def test_wide_problems_keep_second_derivatives_while_the_gradient_falls_fast(monkeypatch):
    x = torch.randn(3, 400, newton.WIDE, generator=G)
    y = x[..., 0] + torch.randn(3, 400, generator=G) > 0
    grams = []
    real = newton.gram
    monkeypatch.setattr(newton, "gram", lambda x, curvature: grams.append(len(curvature)) or real(x, curvature))

    def fitted(keep: float) -> tuple[torch.Tensor, int]:
        monkeypatch.setattr(newton, "KEEP", keep)
        grams.clear()
        got = fit_logistic(x, y, torch.ones_like(y), torch.tensor([0.01, 1.0, 30.0]), tol=1e-12)
        return scores(got, x), sum(grams)

    (each, newtons), (kept, fewer) = fitted(0.0), fitted(0.1)
    torch.testing.assert_close(kept, each, rtol=1e-8, atol=1e-8)
    assert fewer < newtons
