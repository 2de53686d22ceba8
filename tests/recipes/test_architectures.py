"""Gated, matryoshka and matching-pursuit recipes: worked examples, float64 loops, recovery of known features."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from saebench_lite.errors import SaebenchError
from saebench_lite.recipes.architectures import L0_STIFFNESS
from saebench_lite.recipes.fine_tune import FineTune
from saebench_lite.recipes.loop import learning_rate, train_sae
from saebench_lite.recipes.p_annealing import LAST_P, power, powers, stage
from saebench_lite.recipes.recipe import Architecture, SAERecipe
from saebench_lite.recipes.sparsifiers import auxiliary_loss, keep_batch_topk, smallest_kept
from saebench_lite.recipes.trainer import Codes
from saebench_lite.recipes.trainers import trainer_for
from saebench_lite.saes.conformance import check_sae
from saebench_lite.saes.matching_pursuit import MatchingPursuitSAE
from saebench_lite.saes.protocol import reconstruct
from tests.helpers.wrong_values import wrong_settings

NEW: tuple[Architecture, ...] = ("gated", "matryoshka", "matching_pursuit", "p_annealing")
FEATURES, WIDTH, ACTIVE = 50, 64, 5


def world(n: int, seed: int = 99) -> tuple[Tensor, Tensor]:
    """Rows [n, WIDTH] of about ACTIVE of FEATURES orthonormal directions, independent, and the directions.

    The seed is not a recipe's: that would draw the features as its first decoder.
    """
    g = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=g)).Q[:FEATURES]
    on = torch.rand(n, FEATURES, generator=g) < ACTIVE / FEATURES
    return on * (1 + torch.rand(n, FEATURES, generator=g)) @ basis, basis


def trainer_of(architecture: Architecture, **changes: Any) -> tuple[Any, Tensor]:
    """A trainer with random parameters, and a scaled batch [32, WIDTH] for it."""
    x, _ = world(200)
    trainer = trainer_for(SAERecipe(architecture=architecture, d_sae=24, l0=3, **changes), x)
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in trainer.p.values():
            p += 0.3 * torch.randn(p.shape, generator=g)
    return trainer, x[:32] * trainer.scale


def planar(architecture: Architecture, d_sae: int, **parameters: list) -> Any:
    """A trainer in two dimensions with the given parameters."""
    trainer: Any = trainer_for(SAERecipe(architecture=architecture, d_sae=d_sae, l0=1), torch.randn(60, 2))
    for name, value in parameters.items():
        trainer.p[name] = torch.tensor(value).requires_grad_()
    return trainer


def gated_by_hand() -> Any:
    eye = [[1.0, 0.0], [0.0, 1.0]]
    trainer = planar("gated", 2, W_enc=eye, W_dec=eye, b_enc=[-0.5, -1.5], b_mag=[0.1, 0.2], b_dec=[0.0, 1.0])
    trainer.p["r_mag"] = torch.tensor([np.log(2), 0.0], dtype=torch.float32).requires_grad_()
    trainer.pressure, trainer._control = 0.1, lambda l0, step: None
    return trainer


def test_gated_worked_example() -> None:
    """Gate (0.5, -0.5), magnitude (2.1, 1.2): 2.21 of the codes, 0.05 of sparsity, 1.25 of the gate alone."""
    trainer, x = gated_by_hand(), torch.tensor([[1.0, 2.0]])
    f, gate, _ = trainer.codes(x)
    assert torch.allclose(f, torch.tensor([[2.1, 0.0]]))
    assert torch.allclose(gate, torch.tensor([[0.5, -0.5]]))
    assert trainer.loss(x, 0).item() == pytest.approx(3.51)


def test_the_gates_own_reconstruction_does_not_move_the_decoder() -> None:
    """Errors are (-1.1, 1) of the codes and (0.5, 1) of the gate alone, which only the gate's bias may feel."""
    trainer, x = gated_by_hand(), torch.tensor([[1.0, 2.0]])
    trainer.pressure = 0.0
    trainer.loss(x, 0).backward()
    grad = {name: trainer.p[name].grad for name in ("W_dec", "b_dec", "b_enc")}
    assert grad["b_dec"][1].item() == pytest.approx(-2 * 1.0)
    assert grad["W_dec"][0, 1].item() == pytest.approx(-2 * 2.1 * 1.0)
    assert grad["W_dec"][1].tolist() == [0, 0]
    assert grad["b_enc"].tolist() == pytest.approx([-2 * 0.5, 0])


def test_batch_topk_worked_example() -> None:
    score = torch.tensor([[3.0, 1.0, -1.0], [0.5, 2.0, 0.2]])
    f = keep_batch_topk(score, 1.5)
    assert f.tolist() == [[3, 1, 0], [0, 2, 0]]
    assert smallest_kept(f).item() == 1
    assert smallest_kept(torch.zeros(2, 2)).item() == float("inf")
    assert torch.equal(keep_batch_topk(score, 3), score.relu())  # fewer are positive than may be kept


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_batch_topk_keeps_the_largest_of_a_batch_and_no_more_where_codes_tie(dtype: torch.dtype) -> None:
    score = torch.randn(64, 200, generator=torch.Generator().manual_seed(3)).to(dtype).requires_grad_()  # ties in bf16
    f = keep_batch_topk(score, 2.5)
    expected = score.detach().flatten().sort(descending=True).values[:160]
    assert torch.equal(f.detach()[f > 0].sort(descending=True).values, expected)
    assert int((keep_batch_topk(torch.ones_like(score), 2.5) > 0).sum()) == 160  # all of them tie
    f.sum().backward()
    assert score.grad is not None
    assert torch.equal(score.grad > 0, f.detach() > 0)


def test_batch_topk_threshold_follows_and_ignores_silence() -> None:
    trainer, x = trainer_of("batchtopk")
    first = smallest_kept(trainer.codes(x)[0]).item()
    trainer.loss(x, 0)
    assert trainer.threshold.item() == pytest.approx(first)
    trainer.loss(2 * x, 2000)
    second = smallest_kept(trainer.codes(2 * x)[0]).item()
    assert trainer.threshold.item() == pytest.approx(first + 0.01 * (second - first))
    before = trainer.threshold.item()
    with torch.no_grad():
        trainer.p["b_enc"] -= 1e4
    trainer.loss(x, 2001)
    assert trainer.threshold.item() == before


def test_batch_topk_threshold_keeps_up_early() -> None:
    """Codes that tripled after the first step: a hundred steps later the threshold has followed."""
    trainer, x = trainer_of("batchtopk")
    trainer.loss(x, 0)
    for step in range(1, 100):
        trainer.loss(3 * x, step)
    assert trainer.threshold.item() == pytest.approx(smallest_kept(trainer.codes(3 * x)[0]).item(), rel=1e-3)


def test_jumprelu_penalty_worked_example() -> None:
    """Two latents are over the threshold where four are aimed at: (2 / 4 - 1)^2 = 0.25."""
    trainer = trainer_for(SAERecipe(architecture="jumprelu", d_sae=5, l0=4), torch.randn(60, 2))
    score = torch.tensor([[1.3, 1.7, 2.1, -0.3, 0.0]])
    codes = Codes(score, score, (score > 1.5).float())
    penalty = trainer.penalty(codes, [torch.zeros(1, 2)], torch.eye(2), 0)
    assert penalty.item() == pytest.approx(0.25 * L0_STIFFNESS)


def test_matryoshka_worked_example() -> None:
    """Code (0.5, 0, 1.5) of x = (1, 2): the first latent alone leaves 4.25, all three 0.5."""
    recipe = SAERecipe(architecture="matryoshka", d_sae=3, l0=1, prefixes=(1 / 3, 1.0))
    trainer = trainer_for(recipe, torch.randn(60, 2))
    trainer.p["b_dec"] = torch.zeros(2)
    f = torch.tensor([[0.5, 0.0, 1.5]])
    decoder = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    errors = trainer.errors(torch.tensor([[1.0, 2.0]]), Codes(f, f), decoder)
    assert [e.square().sum().item() for e in errors] == pytest.approx([4.25, 0.5])


def test_matryoshka_loss_is_the_formula() -> None:
    trainer, x = trainer_of("matryoshka", prefixes=(0.25, 0.5, 1.0))
    p = {name: t.detach().double().numpy() for name, t in trainer.p.items()}
    norms, rows = np.linalg.norm(p["W_dec"], axis=1), x.double().numpy()
    score = ((rows - p["b_dec"]) @ p["W_enc"] + p["b_enc"]) * norms
    f = np.maximum(score, 0)
    f[f < np.sort(f.ravel())[-3 * len(x)]] = 0
    unit = p["W_dec"] / norms[:, None]
    want = sum(((rows - f[:, :m] @ unit[:m] - p["b_dec"]) ** 2).sum(1).mean() for m in (6, 12, 24))
    assert trainer.loss(x, 0).item() == pytest.approx(want, rel=1e-5)


def test_dead_latents_of_a_level_explain_its_residual() -> None:
    trainer, x = trainer_of("matryoshka", prefixes=(0.5, 1.0))
    codes, decoder = trainer.codes(x), trainer.decoder().detach()
    errors = trainer.errors(x, codes, decoder)
    trainer.silent[[2, 3, 20]] = 10_000
    got = trainer.revival(codes.score, errors, decoder).item()
    want = 0.0
    for block, error, dead in ((slice(0, 12), errors[0], [2, 3]), (slice(12, 24), errors[1], [8])):
        mask = torch.zeros(12, dtype=torch.bool)
        mask[dead] = True
        loss = auxiliary_loss(error.detach(), codes.score[:, block], mask, decoder[block], WIDTH // 2)
        want += len(dead) / (WIDTH // 2) * loss.item()
    assert got == pytest.approx(want, rel=1e-5)
    assert got > 0


def test_p_annealing_worked_example() -> None:
    z = torch.tensor([[4.0, 1.0, 0.0]])
    assert powers(z, 1.0).item() == pytest.approx(5.0)
    assert powers(z, 0.5).item() == pytest.approx(3.0, abs=0.08)  # the small constant takes .03 from each code on
    recipe = SAERecipe(architecture="p_annealing", d_sae=24, l0=3, steps=100)
    assert [stage(s, recipe) for s in (0, 49, 50, 54, 55, 99)] == [0, 0, 1, 1, 2, 10]
    assert (power(0), power(10), power(11)) == (1.0, pytest.approx(LAST_P), pytest.approx(LAST_P))
    pressures = []
    trainer, batch = trainer_of("p_annealing", steps=100)
    for step in (48, 49, 50):
        codes = trainer.codes(batch)
        pressures.append(trainer.penalty(codes, [], trainer.decoder(), step).item())
    assert pressures[2] == pytest.approx(pressures[1], rel=0.05)  # a stage begins where the one before it ended


def test_prefix_sizes() -> None:
    assert SAERecipe(architecture="matryoshka", d_sae=4096, l0=9).prefix_sizes() == (128, 512, 2048, 4096)
    assert SAERecipe(architecture="matryoshka", d_sae=10, l0=2).prefix_sizes() == (1, 5, 10)


@pytest.mark.parametrize("architecture", NEW)
def test_export_undoes_the_scale_and_the_norms(architecture: Architecture) -> None:
    trainer, x = trainer_of(architecture)
    trainer.loss(x, 0)
    sae = trainer.export({})
    f = trainer.codes(x)[0].detach()
    if architecture == "matryoshka":
        trainer.threshold *= 0.999  # off the one code that equals it
        sae, score = trainer.export({}), trainer.codes(x)[1].detach()
        f = score * (score > trainer.threshold)
    raw = x / trainer.scale
    assert torch.allclose(sae.encode(raw) * trainer.scale, f, rtol=1e-4, atol=1e-4)
    assert torch.allclose(sae.decoder.norm(dim=1), torch.ones(24), atol=1e-5)
    unit = torch.nn.functional.normalize(trainer.p["W_dec"].detach(), dim=1)
    scaled = f @ unit + trainer.p["b_dec"].detach()
    assert torch.allclose(reconstruct(sae, raw) * trainer.scale, scaled, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", NEW)
def test_recovers_orthogonal_features(architecture: Architecture) -> None:
    x, basis = world(20_000)
    recipe = SAERecipe(architecture=architecture, d_sae=FEATURES, l0=ACTIVE, steps=1000, batch=256, lr=3e-3)
    sae = train_sae(x, recipe)
    best = (basis @ sae.decoder.T).max(1).values
    assert (best > 0.9).float().mean() > 0.95
    held_out = sae.meta["held_out"]
    assert held_out["explained_variance"] > 0.8
    # greedy rounds end early on rows with fewer features, so the mean stays under k
    assert held_out["l0"] == pytest.approx(ACTIVE, rel=0.1)
    check_sae(sae, d_in=WIDTH, sample=x[:9])
    assert isinstance(sae, MatchingPursuitSAE) == (architecture == "matching_pursuit")
    assert json.loads(json.dumps(sae.meta, allow_nan=False)) == sae.meta


@pytest.mark.parametrize("architecture", NEW)
def test_same_seed_same_weights(architecture: Architecture) -> None:
    x, _ = world(500)
    recipes = (SAERecipe(architecture=architecture, d_sae=16, l0=2, steps=5, batch=64, seed=s) for s in (0, 0, 1))
    one, again, other = (train_sae(x, recipe).fingerprint() for recipe in recipes)
    assert one == again
    assert one != other


def test_fractional_l0_is_reached() -> None:
    x, _ = world(20_000)
    recipe = SAERecipe(architecture="batchtopk", d_sae=64, l0=3.5, steps=600, batch=256, lr=3e-3)
    assert train_sae(x, recipe).meta["held_out"]["l0"] == pytest.approx(3.5, rel=0.07)


def test_learning_rate() -> None:
    recipe = SAERecipe(architecture="topk", d_sae=8, l0=2, steps=1000, lr=2.0, decay=0.2)
    assert [learning_rate(s, recipe) for s in (0, 49, 99, 800, 900)] == pytest.approx([0.02, 1.0, 2.0, 2.0, 1.0])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"l0": 2.5}, "l0 of topk must be a whole number, not 2.5"),
        ({"frozen": "half"}, "no recipe for frozen 'half'; choose from none, decoder"),
        ({"architecture": "matching_pursuit", "frozen": "encoder"}, "cannot have frozen = 'encoder'"),
        ({"prefixes": (0.5, 0.2, 1.0)}, "rising shares of d_sae that end in 1"),
        ({"prefixes": (0.5,)}, "rising shares"),
        ({"prefixes": ()}, "setting prefixes must be a list of at least one item"),
        ({"prefixes": (0.0, 1.0)}, "rising shares"),
        ({"decay": 1.5}, "setting decay must be a number at least 0 and at most 1; got 1.5"),
    ],
)
def test_wrong_recipe(changes: dict, sentence: str) -> None:
    with pytest.raises(SaebenchError, match=sentence):
        SAERecipe(**({"architecture": "topk", "d_sae": 16, "l0": 2} | changes))


@pytest.mark.parametrize(
    ("kind", "given"), [(SAERecipe, {"architecture": "topk", "d_sae": 16, "l0": 2}), (FineTune, {})]
)
def test_every_field_of_a_recipe_is_checked(kind, given):
    for field, value in wrong_settings(kind):
        with pytest.raises(SaebenchError) as error:
            kind(**(given | {field: value}))
        assert len(str(error.value)) < 250
