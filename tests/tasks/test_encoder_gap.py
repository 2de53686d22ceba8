"""The task on a planted world: an encoder at fault, a dictionary at fault, neither; against numpy."""

import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from saebench_lite import registry
from saebench_lite.api.context import EvalContext
from saebench_lite.errors import NotApplicable
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.worlds.concepts import build
from saebench_lite.worlds.model import WorldModel
from tests.helpers.planted_world import FEATURES, permuted, subject, values, world

TASK = registry.get("tasks", "encoder_gap")
CONFIG = TASK.config(max_tokens=300, blocks=4)


@pytest.fixture(scope="module")
def planted():
    ctx, oracle, _ = world(texts=120)
    ctx.lm = None
    return ctx, AffineSAE(**oracle.tensors, activation="jumprelu", threshold=torch.full((12,), 0.1))


def changed(sae: AffineSAE, **tensors: torch.Tensor) -> AffineSAE:
    return AffineSAE(**{**sae.tensors, **tensors}, **sae.settings())


def test_shrunken_codes_are_a_fault_of_magnitude_alone(planted):
    ctx, sae = planted
    best = values(TASK, subject(sae), ctx, CONFIG)
    shrunk = values(
        TASK, subject(changed(sae, W_enc=sae.W_enc / 2, threshold=sae.tensors["threshold"] / 2)), ctx, CONFIG
    )
    assert best["magnitude_ratio"] == pytest.approx(1.0, abs=1e-3)
    codes = sae.encode(TASK.prepare(ctx, CONFIG, ()).acts.x)
    assert best["l0_fista"] == pytest.approx((codes > 0).sum(1).double().mean().item(), rel=0.02)
    assert (best["magnitude_gap"], best["choice_gap"]) == pytest.approx((0.0, 0.0), abs=0.01)
    assert shrunk["magnitude_ratio"] == pytest.approx(0.5, abs=1e-3)
    assert shrunk["magnitude_gap"] > 0.3
    assert shrunk["choice_gap"] == pytest.approx(best["choice_gap"], abs=0.01)
    assert shrunk["explained_variance_fista"] == pytest.approx(best["explained_variance_fista"], abs=0.01)


def test_an_encoder_that_fires_the_wrong_latents_is_a_fault_of_choice_and_a_poor_dictionary_of_neither(planted):
    ctx, sae = planted
    wrong = values(TASK, subject(permuted(sae)), ctx, CONFIG)
    assert wrong["choice_gap"] > 0.3
    turn = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(3))).Q
    other = changed(sae, W_enc=(sae.W_dec @ turn).T, W_dec=sae.W_dec @ turn)
    poor = values(TASK, subject(other), ctx, CONFIG)
    assert poor["explained_variance_fista"] < wrong["explained_variance_fista"] - 0.1
    assert poor["choice_gap"] < 0.5 * wrong["choice_gap"]


def test_explained_variances_match_numpy(planted):
    ctx, sae = planted
    noisy = changed(sae, W_enc=sae.W_enc + 0.2 * torch.randn(16, 12, generator=torch.Generator().manual_seed(5)))
    cfg = TASK.config(max_tokens=100, blocks=1, steps=2000)
    got = values(TASK, subject(noisy), ctx, cfg)
    x = TASK.prepare(ctx, cfg, ()).acts.x
    f, w = noisy.encode(x).double().numpy(), noisy.W_dec.double().numpy()
    exact = (x - noisy.b_dec).double().numpy()
    refit = np.zeros_like(f)
    for i, row in enumerate(f):
        refit[i, row > 0] = nnls(w[row > 0].T, exact[i])[0] if (row > 0).any() else 0.0
    total = ((exact - exact.mean(0)) ** 2).sum()
    assert got["explained_variance"] == pytest.approx(1 - ((exact - f @ w) ** 2).sum() / total, abs=1e-5)
    assert got["explained_variance_refit"] == pytest.approx(1 - ((exact - refit @ w) ** 2).sum() / total, abs=1e-4)
    assert got["magnitude_ratio"] == pytest.approx(f.sum() / refit.sum(), abs=1e-3)


def test_the_shrinkage_of_the_lasso_itself_is_no_gap(planted):
    """At half of the true L0 a penalty of the size of codes is needed; the two largest are the best choice."""
    ctx, sae = planted
    got = values(
        TASK,
        subject(AffineSAE(**{k: v for k, v in sae.tensors.items() if k != "threshold"}, activation="topk", k=2)),
        ctx,
        CONFIG,
    )
    assert got["choice_gap"] > -0.06
    assert got["magnitude_gap"] == pytest.approx(0.0, abs=1e-3)


def test_order_and_scale_of_latents_do_not_matter(planted):
    ctx, sae = planted
    before = values(TASK, subject(permuted(sae)), ctx, CONFIG)
    order, scale = (
        torch.randperm(FEATURES, generator=torch.Generator().manual_seed(0)),
        torch.linspace(0.3, 3, FEATURES),
    )
    mixed = permuted(sae)
    again = changed(
        mixed,
        W_enc=(mixed.W_enc * scale)[:, order],
        b_enc=(mixed.b_enc * scale)[order],
        threshold=(mixed.tensors["threshold"] * scale)[order],
        W_dec=(mixed.W_dec / scale[:, None])[order],
    )
    assert values(TASK, subject(again), ctx, CONFIG) == pytest.approx(before, abs=1e-3)


def test_on_a_world_the_truth_tells_the_codes_apart():
    """The oracle's dictionary read by an encoder of other directions: the lasso finds the features again."""
    lm = WorldModel.load("tiny")
    ctx = EvalContext(lm, "world", build(lm, 1024))
    v, b = lm.world.directions, lm.world.bias
    other = torch.randn(v.shape, generator=torch.Generator().manual_seed(0))
    got = values(TASK, subject(AffineSAE(W_enc=other.T, W_dec=v, b_dec=b, activation="topk", k=6)), ctx, CONFIG)
    assert got["feature_f1_fista"] > got["feature_f1"] + 0.2
    assert got["choice_gap"] > 0.2


def test_signed_and_silent_codes_are_not_applicable(planted):
    ctx, sae = planted
    signed = AffineSAE(W_enc=sae.W_enc - 5, W_dec=sae.W_dec, activation="identity")
    with pytest.raises(NotApplicable, match="has negative codes"):
        values(TASK, subject(signed), ctx, CONFIG)
    with pytest.raises(NotApplicable, match="no latent of 's' fires"):
        values(TASK, subject(changed(sae, threshold=torch.full((12,), 1e6))), ctx, CONFIG)
