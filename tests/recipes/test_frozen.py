"""Frozen parts stay as drawn, everything else learns; the controls built from them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from saebench_lite import registry
from saebench_lite.api.context import EvalContext
from saebench_lite.recipes import controls
from saebench_lite.recipes.frozen import LEAST_COSINE, covariance_root, project_to_cone
from saebench_lite.recipes.loop import train_sae
from saebench_lite.recipes.recipe import Architecture, Frozen, SAERecipe
from saebench_lite.recipes.trainers import trainer_for
from saebench_lite.saes.protocol import reconstruct
from tests.conftest import HOOK

WIDTH, D_SAE = 12, 30
ARCHITECTURES: tuple[Architecture, ...] = ("topk", "batchtopk", "jumprelu", "matryoshka", "relu", "gated")


def activations(n: int = 3000) -> Tensor:
    """Rows [n, WIDTH] of very uneven variance, off the origin."""
    g = torch.Generator().manual_seed(0)
    return torch.randn(n, WIDTH, generator=g) * torch.logspace(0.5, -1, WIDTH) + 0.3


def both_ends(architecture: Architecture, frozen: Frozen) -> tuple[Any, Any, Any]:
    """The SAE before the first step and after the last, and the trainer it started from."""
    recipe = SAERecipe(
        architecture=architecture, d_sae=D_SAE, l0=4, steps=150, batch=128, lr=1e-2, dead_after=20, frozen=frozen
    )
    seen: dict[int, Any] = {}

    def keep(step: int, export: Any) -> None:
        if step in (0, 150):
            seen[step] = export()

    x = activations()
    train_sae(x, recipe, on_step=keep)
    return seen[0], seen[150], trainer_for(recipe, x[:2940])


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_frozen_decoder_keeps_its_bits(architecture: Architecture) -> None:
    first, last, _ = both_ends(architecture, "decoder")
    assert torch.equal(first.W_dec, last.W_dec)
    for name in set(first.tensors) - {"W_dec"}:
        assert not torch.equal(first.tensors[name], last.tensors[name]), name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_frozen_encoder_keeps_its_bits(architecture: Architecture) -> None:
    first, last, trainer = both_ends(architecture, "encoder")
    assert torch.equal(first.W_enc, last.W_enc)
    assert torch.equal(first.W_enc, trainer.p["W_enc"])
    for name in set(first.tensors) - {"W_enc"}:
        assert not torch.equal(first.tensors[name], last.tensors[name]), name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_soft_decoder_stays_near_its_start(architecture: Architecture) -> None:
    first, last, trainer = both_ends(architecture, "soft_decoder")
    cosine = (first.W_dec * last.W_dec).sum(1)
    assert cosine.min() >= LEAST_COSINE - 1e-6
    assert cosine.max() < 0.9999
    assert (cosine - LEAST_COSINE).abs().min() < 1e-5  # some rows pull at the leash
    assert torch.allclose(first.W_dec, trainer.first_rows, atol=1e-6)
    assert not torch.equal(first.W_enc, last.W_enc)


@pytest.mark.parametrize("frozen", ["decoder", "encoder", "soft_decoder"])
def test_frozen_export_gives_the_training_codes(frozen: Frozen) -> None:
    """Also where decoder norms are not folded into the encoder."""
    x = activations(400)
    trainer: Any = trainer_for(SAERecipe(architecture="topk", d_sae=D_SAE, l0=4, frozen=frozen), x)
    with torch.no_grad():
        for name, p in trainer.p.items():
            if p.requires_grad:
                p += 0.2 * torch.randn(p.shape, generator=torch.Generator().manual_seed(len(name)))
    sae = trainer.export({})
    f, scaled = trainer.codes(x * trainer.scale)[0].detach(), x * trainer.scale
    assert torch.allclose(sae.encode(x) * trainer.scale, f, rtol=1e-4, atol=1e-4)
    error = trainer.errors(scaled, trainer.codes(scaled), trainer.decoder())[0].detach()
    assert torch.allclose((x - reconstruct(sae, x)) * trainer.scale, error, rtol=1e-4, atol=1e-4)


def test_turn_back_worked_example() -> None:
    """Start (1, 0); (0.6, 0.8) * 2 turns to (0.8, 0.6) * 2, (0.9, 0.1) is near enough, (-1, 0.1) swings round."""
    start = torch.tensor([[1.0, 0.0]] * 3)
    rows = torch.tensor([[1.2, 1.6], [0.9, 0.1], [-1.0, 0.1]])
    got = project_to_cone(rows, start)
    norm = 1.01**0.5
    assert torch.allclose(got, torch.tensor([[1.6, 1.2], [0.9, 0.1], [0.8 * norm, 0.6 * norm]]))
    assert torch.equal(got[1], rows[1])


def test_covariance_root_against_numpy() -> None:
    x = activations(500)
    root = covariance_root(x).double().numpy()
    assert np.allclose(root @ root.T, np.cov(x.double().numpy().T, bias=True), atol=1e-4)


def test_decoder_rows_follow_the_covariance_and_the_others_do_not() -> None:
    x = activations()
    starts = {}
    for frozen in ("decoder", "soft_decoder", "encoder", "none"):
        recipe = SAERecipe(architecture="batchtopk", d_sae=2000, l0=4, frozen=frozen)
        starts[frozen] = trainer_for(recipe, x).first_rows
    along = {name: rows[:, 0].square().mean().item() for name, rows in starts.items()}
    assert along["decoder"] > 0.3  # the first axis varies most
    assert along["soft_decoder"] == along["encoder"] == along["none"] == pytest.approx(1 / WIDTH, abs=0.01)


@pytest.mark.parametrize(
    ("name", "kept"), [("frozen_decoder", "W_dec"), ("soft_frozen_decoder", ""), ("frozen_encoder", "W_enc")]
)
def test_controls(name: str, kept: str, pico, concepts, monkeypatch) -> None:
    """Made on request only, by a recipe they carry; the frozen half does not depend on how long the rest trained."""
    baseline = registry.get("baselines", name)
    assert (baseline.kind, baseline.default) == ("control", False)
    ctx, made = EvalContext(pico, HOOK, concepts), []
    monkeypatch.setattr(controls, "TEXTS", 100)
    for steps in (2, 6):
        monkeypatch.setattr(controls, "STEPS", steps)
        made.append(baseline.make(ctx, 7))
    recipe = made[1].meta["recipe"]
    assert (recipe["architecture"], recipe["d_sae"], recipe["l0"], recipe["seed"]) == ("batchtopk", 1024, 32, 7)
    assert recipe["steps"] == 6
    assert {n for n in ("W_enc", "W_dec") if torch.equal(made[0].tensors[n], made[1].tensors[n])} == {kept} - {""}
    if name == "soft_frozen_decoder":
        assert recipe["frozen"] == "soft_decoder"


def test_a_control_is_trained_once_for_the_same_activations(pico, concepts, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(controls, "TEXTS", 100)
    monkeypatch.setattr(controls, "STEPS", 3)
    made, trained = registry.get("baselines", "soft_frozen_decoder").make, []
    monkeypatch.setattr(controls, "train_sae", lambda *a, **k: trained.append(1) or train_sae(*a, **k))
    ctx = EvalContext(pico, HOOK, concepts, cache=tmp_path)
    first, again = made(ctx, 7), made(EvalContext(pico, HOOK, concepts, cache=tmp_path), 7)
    assert len(trained) == 1
    assert first.fingerprint() == again.fingerprint()
    assert again.meta == first.meta
    made(ctx, 8)
    monkeypatch.setattr(controls, "TEXTS", 90)
    made(EvalContext(pico, HOOK, concepts, cache=tmp_path), 7)
    assert len(trained) == 3
    for kept in (tmp_path / "controls").glob("*/sae.json"):
        kept.write_text("{")
    assert made(ctx, 8).fingerprint() == made(ctx, 8).fingerprint()  # a damaged one is trained again
    assert len(trained) >= 4


def test_other_baselines_run_unasked() -> None:
    assert registry.get("baselines", "random_topk").default
