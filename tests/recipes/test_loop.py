"""SAE recipes: the formulas against worked examples and float64 loops, then recovery of known features."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from saebench_lite.errors import SaebenchError
from saebench_lite.recipes.architectures import L0_STIFFNESS
from saebench_lite.recipes.loop import held_out_figures, train_sae
from saebench_lite.recipes.recipe import Architecture, SAERecipe
from saebench_lite.recipes.sparsifiers import auxiliary_loss, jump, keep_batch_topk, keep_topk
from saebench_lite.recipes.train_sae import command
from saebench_lite.recipes.trainer import TrainedSAE
from saebench_lite.recipes.trainers import trainer_for
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.saes.conformance import check_sae
from saebench_lite.saes.protocol import reconstruct

ARCHITECTURES: tuple[Architecture, ...] = ("relu", "topk", "batchtopk", "jumprelu")
FEATURES, WIDTH, ACTIVE = 32, 40, 3


def world(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rows [n, WIDTH] made of about ACTIVE of FEATURES orthonormal directions, and the directions."""
    g = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=g)).Q[:FEATURES]
    on = torch.rand(n, FEATURES, generator=g) < ACTIVE / FEATURES
    return on * (1 + torch.rand(n, FEATURES, generator=g)) @ basis + 0.5, basis


def trainer_of(architecture: Architecture, **changes) -> tuple[Any, Tensor]:
    """A trainer with random parameters, and a scaled batch [64, WIDTH] for it."""
    x, _ = world(200)
    trainer = trainer_for(SAERecipe(architecture=architecture, d_sae=24, l0=3, **changes), x, "cpu")
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in trainer.p.values():
            p += 0.3 * torch.randn(p.shape, generator=g)
    return trainer, x[:64] * trainer.scale


def numbers(trainer: Any) -> dict[str, np.ndarray]:
    return {name: p.detach().double().numpy() for name, p in trainer.p.items()}


def test_jump_worked_example() -> None:
    """pre (1.3, 1.7, 2.1, -0.3, 1.8), theta 1.5, eps 0.5: the kernel covers the first two."""
    pre = torch.tensor([[1.3, 1.7, 2.1, -0.3, 1.8]], requires_grad=True)
    theta = torch.full((5,), 1.5, requires_grad=True)
    value, on = jump(pre, theta, 0.5)
    assert torch.allclose(value, torch.tensor([[0.0, 1.7, 2.1, 0.0, 1.8]]))
    assert on.tolist() == [[0, 1, 1, 0, 1]]
    to_pre, to_theta = torch.autograd.grad(value.sum(), (pre, theta), retain_graph=True)
    assert torch.allclose(to_pre, torch.tensor([[3.0, 4.0, 1.0, 0.0, 1.0]]))
    assert torch.allclose(to_theta, torch.tensor([-3.0, -3.0, 0.0, 0.0, 0.0]))
    to_pre, to_theta = torch.autograd.grad(on.sum(), (pre, theta))
    assert torch.allclose(to_pre, torch.tensor([[2.0, 2.0, 0.0, 0.0, 0.0]]))
    assert torch.allclose(to_theta, torch.tensor([-2.0, -2.0, 0.0, 0.0, 0.0]))


def test_topk_worked_examples() -> None:
    score = torch.tensor([[3.0, 1.0, -1.0], [0.5, 2.0, 0.2]])
    assert keep_topk(score, 2).tolist() == [[3, 1, 0], [0.5, 2, 0]]
    assert keep_topk(score, 3)[0].tolist() == [3, 1, 0]  # a negative one is no code
    assert keep_batch_topk(score, 1).tolist() == [[3, 0, 0], [0, 2, 0]]
    uneven = torch.tensor([[3.0, 2.5, -1.0], [0.5, 2.0, 0.2]])
    assert keep_batch_topk(uneven, 1).tolist() == [[3, 2.5, 0], [0, 0, 0]]


def test_auxiliary_loss_worked_example() -> None:
    """Two dead latents: (1.09 + 2.04) / 2 unexplained of a variance of 0.75."""
    error = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, -1]])
    decoder = torch.eye(4)[:3]
    score = torch.tensor([[-0.5, 0.3, 9.0], [0.2, -0.4, 9.0]], requires_grad=True)
    dead = torch.tensor([True, True, False])
    loss = auxiliary_loss(error, score, dead, decoder, 2)
    assert loss.item() == pytest.approx(1.565 / 0.75)
    (grad,) = torch.autograd.grad(loss, score)
    assert grad[:, 2].tolist() == [0, 0]
    assert grad[0, 1] != 0
    assert auxiliary_loss(error, score, torch.zeros(3, dtype=torch.bool), decoder, 2).item() == 0


def codes_by_hand(trainer: Any, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Codes and scores of one row at a time, in units of unit-norm decoder rows."""
    p, recipe = numbers(trainer), trainer.recipe
    norms = np.linalg.norm(p["W_dec"], axis=1)
    score = np.stack([((row - p["b_dec"]) @ p["W_enc"] + p["b_enc"]) * norms for row in x])
    f = np.maximum(score, 0)
    if recipe.architecture == "topk":
        for row in f:
            row[np.argsort(-row)[recipe.l0 :]] = 0
    if recipe.architecture == "batchtopk":
        f[f < np.sort(f.ravel())[-recipe.l0 * len(x)]] = 0
    if recipe.architecture == "jumprelu":
        f[score <= np.maximum(p["theta"], 0)] = 0
    return f, score


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_loss_is_the_formula(architecture: Architecture) -> None:
    trainer, x = trainer_of(architecture)
    trainer.pressure, trainer._control = 0.7, lambda l0, step: None
    rows = x.double().numpy()
    p, (f, _) = numbers(trainer), codes_by_hand(trainer, rows)
    norms = np.linalg.norm(p["W_dec"], axis=1)
    error = rows - f @ (p["W_dec"] / norms[:, None]) - p["b_dec"]
    want = (error**2).sum(1).mean()
    if architecture == "relu":
        free = np.maximum((rows - p["b_dec"]) @ p["W_enc"] + p["b_enc"], 0)
        want += 0.7 * (free * norms).sum(1).mean()
    if architecture == "jumprelu":
        want += L0_STIFFNESS * ((f > 0).sum(1).mean() / trainer.recipe.l0 - 1) ** 2
    assert trainer.loss(x, 0).item() == pytest.approx(want, rel=1e-5)
    if architecture == "batchtopk":
        assert trainer.threshold == pytest.approx(f[f > 0].min(), rel=1e-5)


def test_dead_latents_join_the_loss() -> None:
    trainer, x = trainer_of("topk", dead_after=5, aux=0.5)
    with torch.no_grad():
        trainer.p["b_enc"][0] -= 100  # latent 0 never wins
    alive = trainer.loss(x, 0).item()
    trainer.silent[0] = 5
    f, score = (torch.from_numpy(a).float() for a in codes_by_hand(trainer, x.double().numpy()))
    decoder = trainer.p["W_dec"].detach() / trainer.p["W_dec"].detach().norm(dim=1, keepdim=True)
    error = x - f @ decoder - trainer.p["b_dec"].detach()
    dead = torch.zeros(24, dtype=torch.bool)
    dead[0] = True
    want = alive + 0.5 * auxiliary_loss(error, score, dead, decoder, WIDTH // 2).item()
    assert trainer.loss(x, 1).item() == pytest.approx(want, rel=1e-5)
    assert trainer.silent[0] == 6


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_export_undoes_the_scale_and_the_norms(architecture: Architecture) -> None:
    trainer, x = trainer_of(architecture)
    trainer.loss(x, 0)
    sae = trainer.export({})
    f = trainer.codes(x)[0].detach()
    if architecture == "batchtopk":
        f = trainer.codes(x)[1].detach()
        f = f * (f > trainer.threshold)
    raw = x / trainer.scale
    assert torch.allclose(sae.encode(raw) * trainer.scale, f, rtol=1e-4, atol=1e-4)
    assert torch.allclose(sae.decoder.norm(dim=1), torch.ones(24), atol=1e-5)
    unit = trainer.p["W_dec"].detach() / trainer.p["W_dec"].detach().norm(dim=1, keepdim=True)
    scaled = f @ unit + trainer.p["b_dec"].detach()
    assert torch.allclose(reconstruct(sae, raw) * trainer.scale, scaled, rtol=1e-4, atol=1e-4)


def test_inputs_are_scaled_to_norm_sqrt_d() -> None:
    x, _ = world(500)
    trainer = trainer_for(SAERecipe(architecture="topk", d_sae=24, l0=3), 17 * x, "cpu")
    assert (17 * x * trainer.scale).norm(dim=1).mean().item() == pytest.approx(WIDTH**0.5, rel=1e-5)


def test_controller_presses_towards_the_target() -> None:
    trainer, _ = trainer_of("relu", steps=100)
    for step in range(50):
        trainer._control(1.0, step)
    low = trainer.pressure
    for step in range(50, 100):
        trainer._control(1.0, step)
    assert trainer.pressure < low  # too sparse: less pressure
    for step in range(100, 400):
        trainer._control(20.0, step)
    assert trainer.pressure > low  # too dense: more


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_recovers_orthogonal_features(architecture: Architecture) -> None:
    x, basis = world(20_000, seed=99)  # a seed of the recipe's would draw the features as its first decoder
    recipe = SAERecipe(architecture=architecture, d_sae=FEATURES, l0=ACTIVE, steps=1000, batch=256, lr=3e-3)
    sae = train_sae(x, recipe)
    best = (basis @ sae.decoder.T).max(1).values
    assert (best > 0.9).float().mean() > 0.9
    held_out = sae.meta["held_out"]
    assert held_out["explained_variance"] > 0.75
    assert held_out["l0"] == pytest.approx(ACTIVE, rel=0.25)
    check_sae(sae, d_in=WIDTH, sample=x[:9])
    json.dumps(sae.meta, allow_nan=False)
    assert sae.meta["recipe"]["l0"] == ACTIVE


def test_same_seed_same_weights() -> None:
    x, _ = world(500)

    def train(seed: int) -> TrainedSAE:
        return train_sae(x, SAERecipe(architecture="relu", d_sae=16, l0=2, steps=5, batch=64, seed=seed))

    assert train(0).fingerprint() == train(0).fingerprint()
    assert train(0).fingerprint() != train(1).fingerprint()
    seeds = (SAERecipe(architecture="topk", d_sae=16, l0=2, seed=seed) for seed in (0, 1))
    starts = [trainer_for(recipe, x, "cpu").p["W_dec"] for recipe in seeds]
    assert not torch.equal(*starts)


def test_held_out_figures_against_loops() -> None:
    x, _ = world(300)
    g = torch.Generator().manual_seed(1)
    bias = torch.zeros(12)
    bias[3] = -100.0  # never fires
    sae = AffineSAE(W_enc=torch.randn(WIDTH, 12, generator=g), W_dec=torch.randn(12, WIDTH, generator=g), b_enc=bias)
    f = np.maximum(x.double().numpy() @ sae.W_enc.double().numpy() + bias.double().numpy(), 0)
    rows = x.double().numpy()
    sse = ((rows - f @ sae.W_dec.double().numpy()) ** 2).sum()
    want = 1 - sse / ((rows - rows.mean(0)) ** 2).sum()
    figures = held_out_figures(sae, x)
    assert figures["explained_variance"] == pytest.approx(want, rel=1e-5)
    assert figures["l0"] == pytest.approx((f > 0).sum() / 300)
    assert figures["dead_fraction"] == pytest.approx((f.sum(0) == 0).mean())
    assert figures["dead_fraction"] >= 1 / 12


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"l0": 16}, "l0 must lie between 0 and d_sae = 16, not 16"),
        ({"l0": 0}, "l0 must lie between"),
        ({"architecture": "gate"}, "no recipe for architecture 'gate'; choose from relu, topk"),
        ({"steps": 0}, "setting steps must be a whole number at least 1; got 0"),
    ],
)
def test_wrong_recipe(changes: dict, sentence: str) -> None:
    with pytest.raises(SaebenchError, match=sentence):
        SAERecipe(**({"architecture": "topk", "d_sae": 16, "l0": 2} | changes))


@pytest.mark.parametrize("shape", [(49, 8), (800,)])
def test_too_few_rows(shape: tuple[int, ...]) -> None:
    with pytest.raises(SaebenchError, match=r"must be \[n >= 50, d\]"):
        train_sae(torch.randn(shape), SAERecipe(architecture="topk", d_sae=16, l0=2, steps=1))


def test_command_repeats_the_run_and_names_no_place_on_this_machine() -> None:
    args = argparse.Namespace(model="pico", d_sae=1024, l0="8,16", out=Path("/home/someone/saes"), device="cuda")
    assert command(args) == (
        "python -m saebench_lite.recipes.train_sae --d-sae 1024 --l0 8,16 --model pico --out runs/saes"
    )
