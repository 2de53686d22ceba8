"""Sizes of codes, norm detectors and near duplicates: known answers, float64 loops, invariance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from saebench_lite.metrics import pathologies
from saebench_lite.metrics.latents import nearest_cosines
from saebench_lite.metrics.pathologies import (
    Entries,
    dense_sums,
    known_median,
    least_squares_multiple,
    norm_correlation,
    share_over,
    sparse_sums,
)
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.sparse_codes import bags_of, bags_of_rows, sparse_codes
from saebench_lite.tasks._latent_sizes import LatentSizes

G = torch.Generator().manual_seed(3)
T, M, D = 90, 12, 7
F = (torch.rand(T, M, generator=G) < 0.3) * torch.rand(T, M, generator=G)
F[:, 5] = 0.0
ROWS = torch.randn(M, D, generator=G)
X = torch.randn(T, D, generator=G)


def sums_of(f: torch.Tensor = F, x: torch.Tensor = X, rows: torch.Tensor = ROWS) -> pathologies.LatentSums:
    return dense_sums(f, x.norm(dim=1), x - f @ rows, rows)


def test_codes_of_half_their_size_would_be_doubled():
    """On orthonormal rows each latent's least-squares size is what it is made of."""
    rows = torch.eye(D)
    f = (torch.rand(T, D, generator=G) < 0.5) * (1 + torch.rand(T, D, generator=G))
    factors = torch.tensor([1.0, 0.5, 0.8, 1.0, 2.0, 0.25, 1.0])
    multiple = least_squares_multiple(sums_of(f * factors, f @ rows, rows), rows)
    assert multiple.tolist() == pytest.approx((1 / factors).tolist(), rel=1e-5)
    assert share_over(multiple, pathologies.SHRUNKEN) == pytest.approx(3 / 7)
    assert known_median(multiple) == pytest.approx(1.0)


def test_the_multiple_is_that_of_least_squares_on_one_latent():
    got = least_squares_multiple(sums_of(), ROWS)
    f, rows, x = (t.double().numpy() for t in (F, ROWS, X))
    for i in range(M):
        rest = x - f @ rows + np.outer(f[:, i], rows[i])
        own = np.outer(f[:, i], rows[i]).ravel()
        if i == 5:
            assert got[i].isnan()
        else:
            assert got[i].item() == pytest.approx(
                np.linalg.lstsq(own[:, None], rest.ravel(), rcond=None)[0][0], rel=1e-4
            )
    assert known_median(got) == pytest.approx(np.nanmedian(got.numpy()))
    assert np.isnan(known_median(torch.tensor([float("nan")])))


def test_correlation_with_the_norm_against_numpy_and_a_planted_detector():
    f = F.clone()
    f[:, 2] = 3 * X.norm(dim=1) - 1
    got = norm_correlation(sums_of(f), X.norm(dim=1))
    norms = X.double().norm(dim=1).numpy()
    assert got[2].item() == pytest.approx(1.0, abs=1e-5)
    assert got[5].item() == 0
    assert got[0].item() == pytest.approx(np.corrcoef(f[:, 0].double().numpy(), norms)[0, 1], abs=1e-5)
    assert share_over(got, 0.99) == pytest.approx(1 / M)
    scaled = norm_correlation(sums_of(4 * f, 4 * X), 4 * X.norm(dim=1))
    torch.testing.assert_close(scaled, got, atol=1e-5, rtol=1e-5)


def test_entries_give_the_sums_of_dense_codes(monkeypatch):
    monkeypatch.setattr(pathologies, "AT_ONCE", 5 * D)
    tokens, latents = F.nonzero(as_tuple=True)
    got = sparse_sums(Entries(F[tokens, latents], tokens, latents), X.norm(dim=1), X - F @ ROWS, ROWS)
    for a, b in zip(got, sums_of(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_a_copied_row_is_a_near_duplicate_and_its_opposite_is_not():
    rows = torch.eye(6)
    rows[1] = rows[0] + 0.3 * rows[5]
    rows[3] = -rows[2]
    near = nearest_cosines(rows, 4).clamp(min=0.0)
    assert near[:2].tolist() == pytest.approx([1 / 1.09**0.5] * 2)
    assert share_over(near, pathologies.DUPLICATE) == pytest.approx(2 / 6)


@pytest.mark.parametrize("normalize", ["none", "layer_norm"])
def test_a_sae_with_halved_codes_is_told_in_any_frame_and_by_any_form_of_codes(normalize):
    """Codes x / 2 on an orthonormal basis of the inputs' own frame."""
    wide = torch.cat([torch.eye(D), torch.zeros(57 * D, D)])
    half = AffineSAE(W_enc=wide.T / 2, W_dec=wide, normalize=normalize, activation="topk", k=D)
    x = 3 * X.abs() + 1
    f, hat = half.encode(x), half.decode_like(half.encode(x), x)
    bags, sparse = bags_of(f), sparse_codes(half, x)
    assert bags is not None
    assert sparse is not None
    figures = []
    for codes in (f, bags, bags_of_rows(sparse)):
        sizes = LatentSizes(half)
        sizes.add([sizes.of(codes, x, hat)])
        figures.append(sizes.figures())
    assert figures[0]["size_multiple"] == pytest.approx(2.0, rel=1e-3)
    assert figures[0]["shrunken_fraction"] == pytest.approx(D / len(wide))
    assert figures[1] == pytest.approx(figures[0], rel=1e-4)
    assert figures[2] == pytest.approx(figures[0], rel=1e-4)
    assert LatentSizes(half).figures() == {}
