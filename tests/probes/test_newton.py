"""Grouped Newton fits: grouping, packing and starting points leave the optimum where it is."""

import pytest
import torch

from saebench_lite.api.probe_types import Direction
from saebench_lite.probes import curvature, newton
from saebench_lite.probes.logistic import columns_of, fit_logistic, scores
from saebench_lite.probes.newton import groups, minimise
from saebench_lite.probes.validated import fit_logistic_validated

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
    x = torch.empty(1, 1000, 60)
    many = newton.CACHE // (8 * 1000)
    assert groups([1000] * (many + 1), x, shared=True) == [slice(0, many), slice(many, many + 1)]
    assert len(groups([1000] * many, x)) > 10


def test_second_derivatives_of_wide_problems_on_shared_columns_are_counted():
    x = torch.empty(1, 2000, 2000)
    (first, *_) = groups([2000] * 300, x, shared=True)
    assert 1 <= first.stop == newton.MATRICES * newton.CACHE // (8 * 2001**2)


def test_a_column_that_counts_on_rows_of_little_curvature_is_fitted_to_the_end():
    """All but a few hundredths of the curvature lies in rows where it is zero."""
    g = torch.Generator().manual_seed(2)
    x = torch.randn(1, 1000, 8, generator=g).double()
    x[0, :, 0] *= 0.3
    x[0, :300, 0] = 8 * x[0, :300, 0].sign()
    x[0, :300, 1], x[0, 300:, 1] = 10 * x[0, :300, 1], 0.0
    y = torch.rand(2, 1000, generator=g) < torch.sigmoid(x[0, :, 0])
    strength = torch.full((2,), 100.0)
    shared = fit_logistic(x, y, torch.ones_like(y), strength)
    each = fit_logistic(x.expand(2, -1, -1).contiguous(), y, torch.ones_like(y), strength)
    torch.testing.assert_close(scores(shared, x[0]), scores(each, x[0]), rtol=1e-6, atol=1e-6)


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
    real = curvature.gram
    monkeypatch.setattr(curvature, "gram", lambda x, rows: grams.append(len(rows)) or real(x, rows))
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
    real = curvature.gram
    monkeypatch.setattr(curvature, "gram", lambda x, rows: grams.append(len(rows)) or real(x, rows))
    fit_logistic(x, y, use, torch.tensor([1e-6] * 6 + [100.0]))
    assert grams[0] == 7
    assert grams[-1] == 1


@pytest.mark.parametrize("k", [3, curvature.NARROW + 3, curvature.WIDE + 3])
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


def test_a_step_by_old_second_derivatives_that_leads_nowhere_is_no_reason_to_give_up(monkeypatch):
    g = torch.Generator().manual_seed(4)
    x = torch.randn(2, 400, curvature.WIDE, generator=g)
    y = x[..., 0] + torch.randn(2, 400, generator=g) > 0
    want = fit_logistic(x, y, torch.ones_like(y), torch.ones(2))
    real, old = curvature.SecondDerivatives.solve, []

    def uphill(self: curvature.SecondDerivatives, gradient: torch.Tensor) -> torch.Tensor:
        old.append(not self.fresh.any())
        return -real(self, gradient) if old[-1] else real(self, gradient)

    monkeypatch.setattr(curvature.SecondDerivatives, "solve", uphill)
    got = fit_logistic(x, y, torch.ones_like(y), torch.ones(2))
    assert any(old)
    torch.testing.assert_close(got.weight, want.weight, rtol=1e-6, atol=1e-8)
