"""SCR and TPP on a planted world, where the latents of the features are known."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from saebench_lite import registry
from saebench_lite.errors import NotApplicable
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.tasks._disentanglement_probes import _questions, biased_pairs
from tests.helpers.planted_world import random_sae, subject, values, world

TASK = registry.get("tasks", "disentanglement")
SMALL = TASK.config(classes=3, pairs=2, max_train=200, max_test=120)


@pytest.fixture(scope="module")
def planted():
    ctx, oracle, holds = world()
    ctx.lm = SimpleNamespace(tokenizer=None)
    return ctx, oracle, holds


def test_planted_latents_are_targeted_and_remove_the_spurious_cue(planted):
    ctx, oracle, _ = planted
    best, random = (values(TASK, subject(sae), ctx, SMALL) for sae in (oracle, random_sae()))
    assert best["tpp_intended"] > 0.3
    assert best["tpp_2"] > best["tpp_10"] + 0.1  # ten of twelve latents are more than a class has
    assert best["tpp_2"] > random["tpp_2"] + 0.2
    assert best["scr_2"] > random["scr_2"] + 0.3
    assert 0 < best["tpp_noise"] < 0.5
    assert "scr_noise" in best
    assert "tpp_noise" not in values(TASK, subject(oracle), ctx, SMALL, (42,))  # one seed shows no noise


def test_an_sae_that_never_fires_moves_nothing(planted):
    silent = AffineSAE(W_enc=torch.zeros(16, 3), W_dec=torch.ones(3, 16), activation="relu")
    got = values(TASK, subject(silent), planted[0], SMALL, (42,))
    assert {got[m] for m in got if m.startswith(("tpp", "scr"))} == {0}


def test_order_and_scale_of_latents_do_not_matter(planted):
    ctx, oracle, _ = planted
    before = values(TASK, subject(oracle), ctx, SMALL, (42,))
    scale = torch.linspace(0.5, 3, oracle.d_sae)[:, None]
    weights = {"W_enc": (oracle.W_enc * scale.T).flip(1), "W_dec": (oracle.W_dec / scale).flip(0)}
    other = AffineSAE(**weights, b_dec=oracle.b_dec, activation="relu")
    assert values(TASK, subject(other), ctx, SMALL, (42,)) == pytest.approx(before, abs=1e-9)


def test_questions_hold_all_combinations_alike_but_for_the_biased_one():
    draw = np.random.default_rng(0)
    a, b = draw.random(400) < 0.6, draw.random(400) < 0.3
    rows = np.arange(400) + 7
    first, second, biased = _questions(rows, a, b, (80, 40), draw)
    for question, own, other in ((first, a, b), (second, b, a)):
        for part, labels in ((question.train, question.train_labels), (question.test, question.test_labels)):
            assert (own[part - 7] == labels).all()
            assert other[part - 7][labels].mean() == other[part - 7][~labels].mean() == 0.5
    assert (a[biased.train - 7] == b[biased.train - 7]).all()
    assert (a[biased.train - 7] == biased.train_labels).all()
    assert biased.train_labels.mean() == 0.5
    for question in (first, second, biased):
        assert not set(question.train) & set(np.concatenate([first.test, second.test]))
        assert len(set(question.train)) == len(question.train)


def test_sites_without_pairs_or_classes_and_saes_that_normalise(planted):
    ctx, oracle, _ = planted
    normalised = AffineSAE(**oracle.tensors, **{**oracle.settings(), "normalize": "layer_norm"})
    with pytest.raises(NotApplicable, match="s normalises its inputs"):
        values(TASK, subject(normalised), ctx, SMALL, (42,))
    data = SimpleNamespace(datasets=(), name="none")
    empty: Any = SimpleNamespace(data=data, lm=SimpleNamespace(tokenizer=None))
    assert biased_pairs(empty, 2, (80, 40, 50), 42) == []
    with pytest.raises(NotApplicable, match="'none' has neither two data sets nor a pair of attributes"):
        TASK.prepare(empty, SMALL, [42])
