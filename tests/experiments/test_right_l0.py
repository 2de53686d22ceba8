"""The world of the experiment, its truth, and the page on a family of two steps each."""

import numpy as np
import pytest
import torch

from saebench_lite.saes.affine import AffineSAE
from tests.experiments.right_l0 import FEATURES, STATISTICS, CorrelatedWorld, curves, measure, oracle, page, train


@pytest.fixture(scope="module")
def world() -> CorrelatedWorld:
    return CorrelatedWorld()


def test_the_world_is_the_published_one(world: CorrelatedWorld):
    """11 features fire on average, at the rates given, weakly correlated once the matrix is positive semi-definite."""
    x = world.sample(40_000, 5)
    fires = (x @ world.directions.T > 1e-5).double().numpy()
    assert world.true_l0 == pytest.approx(11, abs=0.1)
    assert fires.sum(1).mean() == pytest.approx(world.true_l0, abs=0.1)
    assert fires.mean(0)[[0, 49]] == pytest.approx([0.345 * 49 / 50 + 0.05, 0.05], abs=0.01)
    assert torch.allclose(world.directions @ world.directions.T, torch.eye(FEATURES), atol=1e-5)
    latent = (world.root @ world.root.T).numpy()
    off = np.abs(latent[np.triu_indices(FEATURES, 1)])
    assert np.allclose(np.diag(latent), 1, atol=1e-5)
    assert off.mean() == pytest.approx(0.133, abs=0.01)
    assert off.max() < 0.5


def mixed(world: CorrelatedWorld, share: float) -> AffineSAE:
    """Latents that hold a share of the feature which fires with theirs most often."""
    correlation = world.root @ world.root.T - 2 * torch.eye(FEATURES)
    rows = world.directions + share * world.directions[correlation.argmax(1)]
    return AffineSAE(W_enc=world.directions.T, W_dec=rows)


def test_both_statistics_are_least_for_the_true_dictionary_and_rise_with_mixing(world: CorrelatedWorld):
    found = [measure(world, mixed(world, share)) for share in (0.4, 0.2, 0.0)]
    for name in STATISTICS:
        values = [m.units[name].mean() for m in found]
        assert values[0] > values[1] > values[2]
        assert values[2] == pytest.approx(0.0, abs=1e-5)
    truth = measure(world, oracle(world))
    assert truth.l0 == pytest.approx(11, abs=0.1)
    assert (truth.recovered, truth.explained_variance) == pytest.approx((1.0, 1.0), abs=1e-5)


def test_a_page_of_a_family_trained_briefly(world: CorrelatedWorld):
    l0s = (2.0, 6.0, 11.0)
    x = world.sample(2000, 1)
    found = [measure(world, train(x, l0, seed, steps=2)) for l0 in l0s for seed in (1, 2)]
    level = [0, 0, 1, 1, 2, 2]
    text = page(l0s, found, level, measure(world, oracle(world)), 2)
    assert all(f"| {l0:g} " in text for l0 in l0s)
    assert "2 training seeds an L0" in text
    assert [c.seeds_df for c in curves(found, level)] == [3, 3, 3]
