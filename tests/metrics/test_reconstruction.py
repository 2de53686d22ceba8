"""Formulas of reconstruction and sparsity against numpy and by hand."""

import numpy as np
import pytest
import torch

from saebench_lite.metrics import peer_formulas, reconstruction
from tests.reference import saebench


def batches(n: int = 3):
    g = torch.Generator().manual_seed(0)
    x = [torch.randn(7 + i, 5, generator=g) + 2 for i in range(n)]
    return [(a, a + 0.3 * torch.randn(a.shape, generator=g), torch.randn(len(a), 6, generator=g).relu()) for a in x]


def test_figures_of_batches_are_those_of_all_rows():
    parts = batches()
    for _, _, f in parts:
        f[:, 2] = 0.0
    x, hat, f = (torch.cat(t).double().numpy() for t in zip(*parts, strict=True))
    got = reconstruction.reconstruction_figures(iter(parts), torch.tensor(x.mean(0)))
    assert got["tokens"] == len(x)
    assert got["l0"] == pytest.approx((f != 0).sum(1).mean())
    assert got["explained_variance"] == pytest.approx(1 - ((x - hat) ** 2).sum() / ((x - x.mean(0)) ** 2).sum())
    assert got["dead_fraction"] == pytest.approx(1 / 6)
    with pytest.raises(ValueError, match="no activations"):
        reconstruction.reconstruction_figures([], torch.zeros(5))


def test_edges():
    assert np.isnan(reconstruction.explained_variance(1.0, 0.0))
    sums = reconstruction.row_sums(torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.tensor([[1.0, 0.0], [3.0, 4.0]]))
    assert sums["cosine"].tolist() == [0.0, 1.0]
    assert sums["ratio"].tolist() == [1.0, 1.0]


def test_saebench_variance_and_mse_of_batches_make_its_figures():
    parts = batches()
    x, hat = [p[0] for p in parts], [p[1] for p in parts]
    size = [a.double().square().sum(-1).mean().item() for a in x]
    sse = [(a.double() - b.double()).square().sum().item() for a, b in zip(x, hat, strict=True)]
    variance = [peer_formulas.uncentred_variance(s, size, 5) for s in size]
    values = [1 - e / len(a) / v for e, a, v in zip(sse, x, variance, strict=True)]
    want = saebench.saebench_explained_variance(x, hat)
    assert np.average(values, weights=variance) == pytest.approx(want, rel=1e-9)
    errors = [peer_formulas.saebench_mse(e, len(a)) for e, a in zip(sse, x, strict=True)]
    assert np.average(errors, weights=[len(a) for a in x]) == pytest.approx(saebench.saebench_mse(x, hat), rel=1e-9)
