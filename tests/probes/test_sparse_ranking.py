"""Columns ranked by an L1-penalised regression, against scikit-learn and the conditions of its optimum."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from saebench_lite.probes.logistic import columns_of, standardise
from saebench_lite.probes.newton import groups
from saebench_lite.probes.sparse_ranking import fit_sparse_ranking, sparse_weights


def test_sparse_ranking_prefers_latents_that_complement_each_other():
    """Two halves of the positives with a latent each, and a noisy copy of the first: the copy comes last."""
    g = torch.Generator().manual_seed(0)
    y = torch.arange(400) % 2 == 0
    half = torch.rand(400, generator=g) < 0.5
    a, b = (y & half).double(), (y & ~half).double()
    copy = a * (torch.rand(400, generator=g) < 0.7)
    order = fit_sparse_ranking(torch.stack([copy, a, b], 1)[None], y[None], 300)
    assert sorted(order[0, :2].tolist()) == [1, 2]


def drawn(problems: int, n: int, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rare labels, and codes that are mostly 0, each pair of columns correlated."""
    g = torch.Generator().manual_seed(k)
    y = torch.rand(problems, n, generator=g) < 0.2
    fires = torch.rand(problems, n, k, generator=g) < 0.1 + 0.2 * y[..., None] * torch.rand(problems, 1, k, generator=g)
    x = torch.rand(problems, n, k, generator=g).double() * fires
    x[..., 1::2] += 0.8 * x[..., ::2]
    return x, y


@pytest.mark.parametrize("l1", [0.003, 0.01, 0.03])
def test_weights_are_those_of_scikit_learn(l1):
    x, y = drawn(4, 300, 8)
    got = sparse_weights(x, y.double(), l1, 100)
    for i in range(len(x)):
        rows = x[i].numpy()
        model = LogisticRegression(
            l1_ratio=1.0, solver="saga", C=1 / (l1 * len(rows)), class_weight="balanced", tol=1e-10, max_iter=20_000
        )
        model.fit((rows - rows.mean(0)) / rows.std(0), y[i].numpy())
        want = np.concatenate([model.coef_[0], model.intercept_])
        np.testing.assert_allclose(got[i].numpy(), want, atol=1e-5)


def test_a_large_penalty_leaves_no_weight():
    x, y = drawn(2, 300, 8)
    assert not sparse_weights(x, y.double(), 1.0, 100).any()


@pytest.mark.parametrize("k", [30, 90])
def test_a_point_of_the_optimum_where_columns_repeat_and_one_is_constant(k):
    """No derivative exceeds the penalty, and where a weight is not 0 it equals it; ten columns are one.

    After few steps, also of as many columns as `gram` gives half of the products for.
    """
    x, y = drawn(5, 400, k)
    x[..., 10:20], x[0, :, 3] = x[..., :1], 4.0
    w = sparse_weights(x, y.double(), 0.01, 25)
    columns = columns_of(standardise(x, torch.ones_like(x[..., 0]))[0])
    share = y.double().mean(-1, keepdim=True)
    weight = torch.where(y, 0.5 / share, 0.5 / (1 - share)) / y.shape[1]
    residual = weight * (torch.sigmoid((w[:, None] @ columns)[:, 0]) - y.double())
    slope = (residual[:, None] @ columns.mT)[:, 0]
    assert slope[:, -1].abs().max() < 1e-11
    assert slope[:, :-1].abs().max() <= 0.01 + 1e-11
    there = w[:, :-1] != 0
    torch.testing.assert_close(slope[:, :-1][there], -0.01 * w[:, :-1][there].sign(), rtol=0, atol=1e-11)
    assert 0 < there.double().mean() < 1


def test_a_problem_does_not_depend_on_its_company():
    x, y = drawn(6, 40_000, 6)
    assert len(groups([40_000] * 6, x)) > 1
    together = fit_sparse_ranking(x, y, 40_000)
    assert torch.equal(together, torch.cat([fit_sparse_ranking(x[i : i + 1], y[i : i + 1], 40_000) for i in range(6)]))


def test_columns_that_differ_in_scale_alone_keep_their_order():
    """Standardised they are equal but for rounding."""
    g = torch.Generator().manual_seed(4)
    y = torch.rand(1, 300, generator=g) < 0.4
    fires = (torch.rand(1, 300, generator=g) < 0.15 + 0.3 * y)[..., None] * torch.rand(1, 300, 1, generator=g).double()
    x = fires * torch.tensor([3.0, 0.1, 1 / 3, 7.0, 0.7, 11.0, 1 / 7, 0.013]).double()
    assert fit_sparse_ranking(x, y, 300).tolist() == [list(range(8))]
