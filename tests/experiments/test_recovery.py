"""The parts of the page on trainers, on SAEs whose figures are known."""

from __future__ import annotations

import pytest
import torch

from saebench_lite.recipes.loop import train_sae
from saebench_lite.saes.affine import AffineSAE
from tests.experiments import recovery
from tests.experiments.recovery import ACTIVE, FEATURES, Job, figures, interval, orthogonal, section


def test_the_true_dictionary_with_halved_codes():
    x, a, basis = orthogonal(2000, 5)
    assert (a > 0).sum(1).double().mean().item() == pytest.approx(ACTIVE, rel=0.05)
    threshold = torch.full((FEATURES,), 1e-3)
    half = AffineSAE(W_enc=basis.T / 2, W_dec=basis, activation="jumprelu", threshold=threshold)
    job = Job("orthogonal", "relu", ACTIVE, 1, 1)
    found = figures(job, half, x, a, basis)
    assert found.recovered == 1.0
    assert found.multiple == pytest.approx(2.0, rel=1e-4)
    assert found.follows == pytest.approx(1.0, abs=1e-6)
    assert found.unexplained == pytest.approx(0.25 * x.square().sum().item() / (x - x.mean(0)).square().sum().item())
    pairs = [found._replace(job=Job(world, a, 9, 1, 1)) for a in ("topk", "top_afa") for world in ("small", "spare")]
    pairs[-1] = pairs[-1]._replace(unexplained=3 * found.unexplained)
    text = section([found, found, *pairs])
    assert "| orthogonal | 9" in text
    assert "| 3.000 " in text
    assert "| relu " in text
    assert "1.000 [1.000, 1.000]" in text


def test_a_job_trains_the_latents_of_its_world(monkeypatch):
    made = []
    monkeypatch.setattr(recovery, "train_sae", lambda x, recipe: made.append(recipe) or train_sae(x, recipe))
    for world in ("orthogonal", "spare"):
        assert recovery.one(Job(world, "topk", ACTIVE, 1, 2)).l0 == ACTIVE
    assert [recipe.d_sae for recipe in made] == [FEATURES, 64]


def test_interval_of_three_seeds():
    assert interval([1.0, 2.0, 3.0], 2) == "2.00 [-0.48, 4.48]"  # 4.303 / sqrt(3)
    assert interval([1.5]) == "1.500"
