"""The curve recorded while an SAE is trained: its figures against loops, and that recording changes no weight."""

import itertools
import json

import numpy as np
import pytest
import torch

from saebench_lite.recipes import loop
from saebench_lite.recipes.loop import train_sae
from saebench_lite.recipes.recipe import Architecture
from saebench_lite.recipes.trainers import trainer_for
from saebench_lite.recipes.training_curve import POINTS, curve_steps, training_curve
from tests.recipes.test_loop import ARCHITECTURES, codes_by_hand, numbers, trainer_of
from tests.recipes.test_stream import ALL, recipe, rows


@pytest.mark.parametrize("steps", [1, 2, 19, 20, 150, 5000])
def test_steps_are_few_and_dense_at_first(steps: int):
    marks = curve_steps(steps)
    assert marks[0] == 0
    assert marks[-1] == steps - 1
    assert len(marks) <= min(POINTS, steps)
    distances = [b - a for a, b in itertools.pairwise(marks)]
    assert all(b >= a - 1 for a, b in itertools.pairwise(distances)), "rounding moves a distance by one at most"


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("architecture", ALL)
def test_recording_changes_no_weight(architecture: Architecture, bf16: bool, monkeypatch: pytest.MonkeyPatch):
    x, made = rows(1044), recipe(architecture, bf16=bf16)
    recorded = train_sae(x, made)
    assert len(recorded.meta["training_curve"]["step"]) > 10
    monkeypatch.setattr(loop, "curve_steps", lambda _: [])
    monkeypatch.setattr(loop, "training_curve", lambda marks, figures: {})
    plain = train_sae(x, made)
    assert recorded.tensors.keys() == plain.tensors.keys()
    assert all(torch.equal(recorded.tensors[name], plain.tensors[name]) for name in plain.tensors)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_figures_are_those_of_the_loss_and_change_nothing(architecture: Architecture):
    trainer, x = trainer_of(architecture, dead_after=5)
    trainer.silent[:6] = 6  # of 24
    before = [t.clone() for t in (*trainer.p.values(), trainer.silent)]
    explained, l0, dead = trainer.figures(x).tolist()
    assert all(torch.equal(a, b) for a, b in zip(before, (*trainer.p.values(), trainer.silent), strict=True))
    data = x.double().numpy()
    p, (f, _) = numbers(trainer), codes_by_hand(trainer, data)
    error = data - f @ (p["W_dec"] / np.linalg.norm(p["W_dec"], axis=1)[:, None]) - p["b_dec"]
    want = 1 - (error**2).sum() / ((data - data.mean(0)) ** 2).sum()
    assert explained == pytest.approx(want, rel=1e-4, abs=1e-5)
    assert l0 == pytest.approx((f > 0).sum(1).mean())
    assert dead == 6 / 24


@pytest.mark.parametrize("architecture", ALL)
def test_the_scale_of_the_data_does_not_matter(architecture: Architecture):
    """A factor that is a power of two, so that no rounding differs."""
    x = rows(500)
    of = [trainer_for(recipe(architecture), factor * x, "cpu") for factor in (1.0, 4.0)]
    first, second = (t.figures(factor * x * t.scale) for t, factor in zip(of, (1.0, 4.0), strict=True))
    assert torch.allclose(first, second, atol=1e-5)


def test_the_curve_follows_the_training():
    x = rows(4000)
    curve = train_sae(x, recipe("topk", steps=300, lr=3e-3)).meta["training_curve"]
    assert list(curve) == ["step", "explained_variance", "l0", "dead_fraction"]
    assert curve["step"] == curve_steps(300)
    assert curve["explained_variance"][-1] > curve["explained_variance"][0] + 0.1
    assert curve["l0"][-1] == pytest.approx(3, abs=0.05)
    assert curve["dead_fraction"][0] == 0
    assert len(json.dumps(curve, allow_nan=False)) < 1000


def test_what_is_not_finite_is_none_and_digits_are_few():
    """A batch of equal rows has no variance to explain."""
    figures = [torch.tensor([float("nan"), 1 / 3, 0.0]), torch.tensor([-float("inf"), 12345.678, 0.25])]
    assert training_curve([0, 7], figures) == {
        "step": [0, 7], "explained_variance": [None, None], "l0": [0.33333, 12346.0], "dead_fraction": [0.0, 0.25],
    }  # fmt: skip
