"""Density and geometry of latents against float64 loops, on planted duplicates, dead and dense latents."""

import numpy as np
import pytest
import torch

from saebench_lite.metrics import latents


def rows(m: int = 40, d: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randn(m, d, generator=torch.Generator().manual_seed(seed))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    size = np.sqrt((a * a).sum()) * np.sqrt((b * b).sum())
    return 0.0 if size == 0 else float((a * b).sum() / size)


def test_cosines_match_a_loop():
    a, b = rows(), rows(seed=1)
    a[3], b[5] = 0.0, 0.0
    x, y = a.double().numpy(), b.double().numpy()
    pairs = [cosine(p, q) for p, q in zip(x, y, strict=True)]
    nearest = [max(cosine(x[i], x[j]) for j in range(40) if j != i) for i in range(40)]
    assert latents.paired_cosine(a, b) == pytest.approx(np.mean(pairs), abs=1e-12)
    for block in (1, 7, 40, 1000):
        assert latents.nearest_cosine(a, block) == pytest.approx(np.mean(nearest), abs=1e-6)


def test_cosines_of_known_rows():
    eye = torch.eye(4)
    assert latents.nearest_cosine(eye, 3) == 0.0
    assert latents.nearest_cosine(torch.cat([eye, 5 * eye[:2]]), 3) == pytest.approx(4 / 6)  # two pairs of copies
    assert latents.nearest_cosine(torch.stack([eye[0], -eye[0]]), 1) == pytest.approx(-1.0)
    assert np.isnan(latents.nearest_cosine(eye[:1], 1))
    assert latents.paired_cosine(eye, -3 * eye) == pytest.approx(-1.0)


def test_order_and_positive_scale_of_latents_do_not_matter():
    a, b = rows(), rows(seed=1)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(2))
    stretch = torch.linspace(0.1, 9, 40)[:, None]
    assert latents.paired_cosine((a * stretch)[order], b[order]) == pytest.approx(latents.paired_cosine(a, b))
    assert latents.nearest_cosine((a * stretch)[order], 7) == pytest.approx(latents.nearest_cosine(a, 7), abs=1e-6)
    fired = torch.arange(40.0)
    assert latents.dead_fraction(fired[order], 400_000) == latents.dead_fraction(fired, 400_000)


def test_shares_of_latents_by_how_often_they_fire():
    fired = torch.tensor([0.0, 1.0, 2.0, 2000.0, 2001.0, 20_001.0])
    assert latents.dead_fraction(fired, 200_000) == pytest.approx(2 / 6)  # 2 of 200,000 is 1e-5, which is alive
    assert latents.dead_fraction(fired, 50_000) == pytest.approx(1 / 6)  # where one firing is more than the rate
    assert latents.alive_fraction(fired) == pytest.approx(5 / 6)
    assert latents.fraction_over(fired, 200_000, 0.01) == pytest.approx(2 / 6)
    assert latents.fraction_over(fired, 200_000, 0.1) == pytest.approx(1 / 6)


def test_histogram_counts_every_latent_once():
    found = latents.density_histogram(torch.tensor([0.0, 1e-9, 10**-3.2, 1.0]))
    counts, edges = found["latents"], found["log10_edges"]
    assert isinstance(counts, list)
    assert isinstance(edges, list)
    assert len(edges) == len(counts) + 1
    assert (found["silent"], sum(counts)) == (1, 3)
    assert [edges[i] for i, n in enumerate(counts) if n] == [-6, -3.5, -0.5]
