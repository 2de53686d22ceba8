"""Columns ranked by an L1-penalised regression, by dense products and by those over numbers that are not 0."""

import torch

from saebench_lite.probes import sparse_ranking
from saebench_lite.probes.sparse_ranking import DenseProducts, SparseProducts, fit_sparse_ranking


def test_sparse_ranking_prefers_latents_that_complement_each_other():
    """Two halves of the positives with a latent each, and a noisy copy of the first: the copy comes last."""
    g = torch.Generator().manual_seed(0)
    y = torch.arange(400) % 2 == 0
    half = torch.rand(400, generator=g) < 0.5
    a, b = (y & half).double(), (y & ~half).double()
    copy = a * (torch.rand(400, generator=g) < 0.7)
    order = fit_sparse_ranking(torch.stack([copy, a, b], 1)[None], y[None], 300)
    assert sorted(order[0, :2].tolist()) == [1, 2]


def test_sparse_products_are_dense_ones():
    """Also for a column that is constant, one of zeros, and one without zeros."""
    g = torch.Generator().manual_seed(1)
    x = torch.rand(3, 50, 6, generator=g).double() * (torch.rand(3, 50, 6, generator=g) < 0.2)
    x[0, :, 1], x[1, :, 2], x[2, :, 3] = 4.0, 0.0, torch.rand(50, generator=g).double() + 9
    dense, few = DenseProducts(x), SparseProducts(x)
    w, residual = torch.randn(3, 7, generator=g).double(), torch.randn(3, 50, generator=g).double()
    for name, argument in (("margins", w), ("gradients", residual), ("energy", residual.abs())):
        torch.testing.assert_close(getattr(few, name)(argument), getattr(dense, name)(argument), rtol=1e-10, atol=1e-10)


def test_sparse_ranking_is_that_of_dense_products(monkeypatch):
    g = torch.Generator().manual_seed(2)
    y = torch.rand(3, 300, generator=g) < 0.3
    x = torch.rand(3, 300, 8, generator=g) * (torch.rand(3, 300, 8, generator=g) < 0.1 + 0.2 * y[..., None])
    got = fit_sparse_ranking(x, y, 200)
    monkeypatch.setattr(sparse_ranking, "SparseProducts", DenseProducts)
    assert torch.equal(got, fit_sparse_ranking(x, y, 200))


def test_columns_that_differ_in_scale_alone_keep_their_order(monkeypatch):
    """Standardised they are equal but for rounding, which differs between sparse and dense products."""
    g = torch.Generator().manual_seed(4)
    y = torch.rand(1, 300, generator=g) < 0.4
    fires = (torch.rand(1, 300, generator=g) < 0.15 + 0.3 * y)[..., None] * torch.rand(1, 300, 1, generator=g).double()
    x = fires * torch.tensor([3.0, 0.1, 1 / 3, 7.0, 0.7, 11.0, 1 / 7, 0.013]).double()
    assert fit_sparse_ranking(x, y, 300).tolist() == [list(range(8))]
    monkeypatch.setattr(sparse_ranking, "SPARSE", -1)
    assert fit_sparse_ranking(x, y, 300).tolist() == [list(range(8))]
