"""Agreement with the peers: on their own files where SAEBENCH_LITE_PARITY names them, on small made-up data always."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, roc_auc_score

from saebench_lite import registry
from saebench_lite.api.settings import make_config
from saebench_lite.api.subject import TextSubject
from saebench_lite.baselines import axbench_probe, bag_of_words, lat, positive_pca
from saebench_lite.errors import SaebenchError
from saebench_lite.metrics import peer_formulas
from saebench_lite.probes import peer_fits
from saebench_lite.probes.directions import principal_direction
from saebench_lite.probes.logistic import scores
from saebench_lite.runs import profiles
from saebench_lite.runs.runner import run
from saebench_lite.tasks import absorption, concept_detection, reconstruction, sparse_probing
from tests.helpers.planted_world import random_sae, subject, values, world
from tests.reference import saebench

FOLDER = os.environ.get("SAEBENCH_LITE_PARITY", "")


@pytest.mark.skipif(not FOLDER, reason="SAEBENCH_LITE_PARITY names no folder with the peers' outputs")
def test_figures_agree_where_definitions_coincide():
    from tests.experiments.parity.__main__ import all_rows

    rows = all_rows(Path(FOLDER), [])
    assert not [r for r in rows if not r.agrees]
    assert len(rows) > 700


def problem(n: int = 300, k: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, k)) * np.array([3.0, 1.0, 0.3, 1.0])
    return torch.tensor(x, dtype=torch.float32), torch.tensor(x[:, 0] + 3 * x[:, 2] + rng.normal(size=n) > 0)


def lasso(x: np.ndarray, y: np.ndarray, c: float) -> np.ndarray:
    """Minimiser [k + 1] of c * sum of log(1 + exp(-s margin)) + |w|_1, intercept last and free: proximal gradient."""
    x = np.hstack([x, np.ones((len(x), 1))]).astype(float)
    step = 4 / (c * np.linalg.norm(x, 2) ** 2)
    w = z = np.zeros(x.shape[1])
    for t in range(3000):
        moved = z - step * c * x.T @ (1 / (1 + np.exp(-np.clip(x @ z, -500, 500))) - y)
        new = np.append(np.sign(moved[:-1]) * np.maximum(np.abs(moved[:-1]) - step, 0), moved[-1])
        z, w = new + t / (t + 3) * (new - w), new
    return w


def test_l1_probe_is_sae_probes_recipe():
    x, y = problem()
    fitted = peer_fits.fit_l1(x[:200], y[:200], 42)
    by_strength = peer_fits.strength_aurocs(x[:200], y[:200], 42)
    strength = peer_fits.L1_GRID[int(np.argmax(by_strength))]
    table, labels = x[:200].numpy(), y[:200].numpy().astype(float)
    areas = []
    for c in np.logspace(5, -5, 10):
        w = lasso(table[:160], labels[:160], c)
        areas.append(roc_auc_score(labels[160:], table[160:] @ w[:-1] + w[-1]))
    assert max(by_strength) == pytest.approx(max(areas), abs=1e-3)
    assert areas[int(np.argmin(np.abs(np.logspace(5, -5, 10) - strength)))] == pytest.approx(max(areas), abs=1e-3)
    w = lasso(table, labels, strength)
    np.testing.assert_allclose(fitted.weight[0], w[:-1], rtol=0.02, atol=2e-3)
    np.testing.assert_allclose(fitted.bias[0], w[-1], rtol=0.02, atol=2e-3)


def test_small_training_sets_are_validated_in_six_folds():
    _, y = problem(60)
    folds = list(peer_fits.sae_probes_folds(y.numpy(), 42))
    assert len(folds) == 6
    assert sorted(np.concatenate([held for _, held in folds])) == list(range(60))
    ((fit, held),) = peer_fits.sae_probes_folds(np.arange(400) % 2, 42)
    assert (len(fit), len(held), held[0]) == (320, 80, 320)


def test_l1_says_what_to_install(monkeypatch):
    import importlib

    def refuse(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(SaebenchError, match="install saebench-lite"):
        peer_fits.fit_l1(*problem())


def test_weighted_f1_matches_scikit_learn():
    g = torch.Generator().manual_seed(0)
    said, truth = torch.rand(50, generator=g) < 0.3, torch.rand(50, generator=g) < 0.6
    assert peer_formulas.weighted_f1(said, truth) == pytest.approx(f1_score(truth, said, average="weighted"))


def test_saebench_explained_variances_by_hand():
    x, hat = [torch.tensor([[1.0, 0.0], [3.0, 0.0]])], [torch.tensor([[1.0, 0.0], [2.0, 0.0]])]
    # R = 1/2, S = 5, q = 5/2; mean of the batch (2, 0)
    assert saebench.saebench_explained_variance(x, hat) == pytest.approx(1 - 0.5 / (5 - 6.25))
    assert saebench.saebench_explained_variance_legacy(x, hat) == pytest.approx((1 + 0) / 2)
    assert saebench.saebench_mse(x, hat) == pytest.approx(0.25)
    assert saebench.saebench_relative_bias(x, hat) == pytest.approx(5 / 7)


def test_adam_probe_separates_and_repeats():
    x, y = problem(400)
    labels = torch.stack([y, ~y])
    first, again = (peer_fits.fit_adam(x, labels, l1=0.0, l2=1e-4, batch=4, seed=3) for _ in range(2))
    assert torch.equal(first.weight, again.weight)
    reference = LogisticRegression(C=1e3, class_weight="balanced").fit(x.numpy(), y.numpy())
    agree = (scores(first, x)[0] > 0).numpy() == reference.predict(x.numpy())
    assert agree.mean() > 0.9
    sparse = peer_fits.fit_adam(x, labels, l1=1.0, l2=0.0, batch=4, seed=3).weight
    assert sparse.abs().sum() < 0.2 * first.weight.abs().sum()


@pytest.mark.parametrize("name", profiles.PROFILES)
def test_profile_settings_are_valid(name):
    for task, settings in profiles.profile(name).settings.items():
        found = registry.get("tasks", task)
        cfg = make_config(found, settings)
        assert cfg != found.config()
        assert all(getattr(cfg, field) == value for field, value in settings.items())


def test_profile_fills_tasks_and_settings_and_the_run_wins():
    tasks, settings = profiles.apply("sae-probes-0.4", None, {"sparse_probing": {"ks": (1,)}})
    assert tasks == ["sparse_probing"]
    assert settings["sparse_probing"]["ks"] == (1,)
    assert settings["sparse_probing"]["probe"] == "l1"
    assert profiles.apply(None, ["x"], None) == (["x"], {})
    with pytest.raises(SaebenchError, match="choose saebench"):
        profiles.apply("saebench", None, None)
    with pytest.raises(SaebenchError, match="says nothing about task 'absorption'"):
        profiles.apply("axbench", ["absorption"], None)
    with pytest.raises(SaebenchError, match="there is no profile 'none'"):
        run(model="no such model", hook="h", profile="none")


@pytest.mark.parametrize("name", ["saebench-0.6", "sae-probes-0.4"])
def test_probing_under_a_profile(name):
    ctx, oracle, _ = world()
    settings = profiles.profile(name).settings["sparse_probing"] | {"ks": (1, 2), "context": None}
    got = values(sparse_probing.TASK, subject(oracle), ctx, sparse_probing.Config(**settings))
    poor = values(sparse_probing.TASK, subject(random_sae()), ctx, sparse_probing.Config(**settings))
    pooling = settings["poolings"][0]
    assert got[f"accuracy_k1_{pooling}"] > poor[f"accuracy_k1_{pooling}"]
    assert (f"f1_weighted_k1_{pooling}" in got) == (name == "sae-probes-0.4")


def test_redraw_takes_other_rows_for_every_k():
    ctx, _, _ = world()
    cfg = sparse_probing.Config(ks=(1, 2), redraw=True, max_test=40)
    prepared = sparse_probing.prepare(ctx, cfg, [42])
    one, two = prepared[0].probing
    assert (one.only_k, two.only_k) == (1, 2)
    assert set(one.rows.tolist()) != set(two.rows.tolist())
    assert len(one.rows) - one.n_train == 40


def test_axbench_threshold_and_rounding_by_hand():
    found = concept_detection.TextScores(
        torch.tensor([5.0, 0.0]), torch.tensor([2.0, 1.0004, 1.0, 0.0]), torch.tensor([3.0])
    )
    made = concept_detection.Problem(
        None,  # type: ignore[arg-type]
        0,
        torch.arange(2),
        torch.tensor([True, False]),
        torch.arange(4),
        torch.tensor([True, True, False, False]),
        torch.arange(1),
        None,  # type: ignore[arg-type]
    )
    cfg = concept_detection.Config(threshold="test", decimals=3)
    (got,) = concept_detection.judge([found], [made], cfg)
    assert got["auroc"][0] == pytest.approx(3.5 / 4)  # 1.0004 and 1.0 tie after rounding
    # threshold 0.5: two hits, one false alarm on the test texts, one more on the hard negative
    assert got["f1"][0] == pytest.approx(2 * 2 / (2 * 2 + 2))


def test_peer_metrics_of_reconstruction_are_the_pooled_formulas():
    ctx, _, _ = world()
    sae = random_sae()
    cfg = reconstruction.Config(blocks=4, peer_metrics=True)
    got = values(reconstruction.TASK, subject(sae), ctx, cfg, ())
    sample = reconstruction.prepare(ctx, cfg, ())
    cuts = [int(sample.blocks.acts.offsets[b]) for b in sample.blocks.bounds]
    x = [sample.blocks.acts.x[a:b] for a, b in pairwise(cuts)]
    hat = [sae.decode(sae.encode(part)) for part in x]
    assert got["saebench_explained_variance"] == pytest.approx(saebench.saebench_explained_variance(x, hat), abs=1e-6)
    legacy = saebench.saebench_explained_variance_legacy(x, hat)
    assert got["saebench_explained_variance_legacy"] == pytest.approx(legacy, abs=1e-6)
    assert got["saebench_mse"] == pytest.approx(saebench.saebench_mse(x, hat), rel=1e-6)


def test_absorption_contribution_can_ignore_the_decoders_norm():
    f = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    cosine, contribution = torch.tensor([1.0, 0.5]).double(), torch.tensor([1.0, 2.0]).double()
    main, projection = torch.tensor([0]), torch.tensor([2.0]).double()
    found = [
        absorption.absorbed(f, c, cosine.clone(), main, projection, absorption.Config()).fraction.item()
        for c in (contribution, cosine)
    ]
    assert found == [1.0, 0.0]  # p = 2 carries all of P = 2, p = 0.5 less than 0.4 P


def first_component(x: np.ndarray) -> np.ndarray:
    return np.asarray(PCA(1, svd_solver="full").fit(x).components_)[0]


def test_principal_direction_matches_scikit_learn():
    for shape in ((50, 8), (8, 50)):
        x = torch.randn(*shape, generator=torch.Generator().manual_seed(1)).double() + 3
        reference = torch.tensor(first_component(x.numpy()))
        assert abs(principal_direction(x) @ reference) == pytest.approx(1.0)


def test_pca_and_lat_find_the_planted_direction_with_its_sign():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(400, 6, generator=g).double()
    y = torch.arange(400) % 2 == 0
    x[y, 2] = -8 + 5 * torch.randn(200, generator=g).double()
    for fit in (positive_pca.fit, lat.fit):
        found = fit(x, y[None], torch.ones(1, 400))
        assert found.weight[0, 2] < -0.9
        margin = scores(found, x)[0]
        assert margin[y].mean() == pytest.approx(-margin[~y].mean())
    half = lat.paired_direction(x[y])
    order = torch.randperm(200, generator=torch.Generator().manual_seed(lat.derive_seed("lat", 200)))
    paired = (x[y][order[:100]] - x[y][order[100:]]).numpy()
    paired /= np.linalg.norm(paired, axis=1, keepdims=True)
    assert abs(half.numpy() @ first_component(paired)) == pytest.approx(1.0)


def test_bag_of_words_matches_scikit_learn():
    rng = np.random.default_rng(0)
    words = [f"word{i}" for i in range(80)] + ["A", "Über", "don't"]
    texts = [" ".join(rng.choice(words, 12)) + (" blue" if i % 2 else "") for i in range(60)]
    y = torch.arange(60) % 2 == 1
    y[:6] = ~y[:6]
    counter = CountVectorizer()
    reference = LogisticRegression(C=100.0, max_iter=10_000, tol=1e-10).fit(counter.fit_transform(texts[:40]), y[:40])
    got = bag_of_words.fit(texts[:40], y[:40], texts[40:])
    np.testing.assert_allclose(got, reference.decision_function(counter.transform(texts[40:])), atol=1e-3)


def test_axbench_probe_is_a_unit_direction_that_separates():
    x, y = problem(480)
    found = axbench_probe.fit(x, y[None], torch.ones(1, 480))
    assert found.weight.norm() == pytest.approx(1.0, abs=1e-6)
    margin = scores(found, x)[0]
    assert roc_auc_score(y, margin) > 0.9


def test_texts_probe_runs_in_concept_detection():
    ctx, _, holds = world()
    texts = tuple(f"text{i} " + " ".join(f"feature{j}" for j in range(4) if h[j]) for i, h in enumerate(holds))
    corpus = ctx.data.concepts[0].corpus
    object.__setattr__(corpus, "texts", texts)
    who = TextSubject(name="s", kind="baseline", fingerprint="f", score=bag_of_words.fit)
    assert values(concept_detection.TASK, who, ctx)["auroc"] > 0.99
