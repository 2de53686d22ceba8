"""Interchange formulas: numpy references, cases with known answers, what must not matter."""

import numpy as np
import pytest
import torch
from scipy.stats import f_oneway

from saebench_lite.metrics.interchange import between_share, disentangle, group_mean_basis, swap_subspace


def test_a_swap_takes_the_part_in_the_subspace_and_leaves_the_rest():
    g = torch.Generator().manual_seed(0)
    q = torch.linalg.qr(torch.randn(6, 6, generator=g, dtype=torch.float64)).Q
    x, source = torch.randn(2, 5, 6, generator=g, dtype=torch.float64)
    out = swap_subspace(x, source, q[:, :2])
    torch.testing.assert_close(out @ q[:, :2], source @ q[:, :2])
    torch.testing.assert_close(out @ q[:, 2:], x @ q[:, 2:])
    turn = torch.linalg.qr(torch.randn(2, 2, generator=g, dtype=torch.float64)).Q
    torch.testing.assert_close(swap_subspace(x, source, q[:, :2] @ turn), out)  # the basis of a subspace is no matter
    torch.testing.assert_close(swap_subspace(x, source, q), source)
    assert torch.equal(swap_subspace(x, source, q[:, :0]), x)


def test_variance_between_groups_is_that_of_the_f_test():
    g = torch.Generator().manual_seed(1)
    values, group = torch.randn(40, 5, generator=g), torch.randint(0, 4, (40,), generator=g)
    values[:, 0] = 3.0
    values[:, 1] = group * 2.0
    got = between_share(values, group)
    assert got[:2].tolist() == pytest.approx([0, 1])
    f = f_oneway(*(values[group == k].double().numpy() for k in range(4))).statistic[2:]
    k, n = 3, 36
    np.testing.assert_allclose(got[2:], f * k / (f * k + n), rtol=1e-9)
    np.testing.assert_allclose(between_share(5 * values - 2, 9 - group), got, atol=1e-12)


def test_the_span_of_mean_differences():
    x = torch.tensor([[1.0, 5, 0, 0], [3, 5, 0, 0], [2, 9, 1, 0], [2, 9, -1, 0]])
    basis = group_mean_basis(x, torch.tensor([4, 4, 7, 7]))
    assert basis.shape == (4, 1)
    assert basis[:, 0].abs().tolist() == pytest.approx([0, 1, 0, 0])
    assert group_mean_basis(x, torch.zeros(4, dtype=torch.long)).shape == (4, 0)  # one value: nothing differs


def test_known_scores():
    yes, no = torch.ones(8, dtype=torch.bool), torch.zeros(8, dtype=torch.bool)
    assert disentangle(no, [yes, yes]) == (0, 1, 0.5, 0)  # no edit
    assert disentangle(yes, [no]) == (1, 0, 0.5, 0)  # everything swapped
    assert disentangle(yes, [yes]) == (1, 1, 1, 0)
    half = torch.arange(8) % 2 == 0
    cause, isolate, mean, error = disentangle(half, [yes[:2], no])
    assert (cause, isolate, mean) == (0.5, 0.5, 0.5)  # attributes count alike, however many trials they have
    assert error == pytest.approx(0.5 * (0.25 / 8) ** 0.5)
    assert np.isnan(disentangle(half, []).disentangle)
