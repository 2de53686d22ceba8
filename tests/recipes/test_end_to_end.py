"""Training through the model: its loss, the stream of whole texts, interruption, and what it gains."""

from __future__ import annotations

import signal
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from saebench_lite.errors import SaebenchError
from saebench_lite.recipes import long_run
from saebench_lite.recipes.long_run import train_on_texts
from saebench_lite.recipes.loop import train_sae
from saebench_lite.recipes.recipe import SAERecipe
from saebench_lite.recipes.spliced import Spliced, SplicedStream, both_alike
from saebench_lite.recipes.trainers import trainer_for
from saebench_lite.saes.identity import fingerprint
from saebench_lite.saes.protocol import reconstruct
from tests.conftest import HOOK

RECIPE = SAERecipe(architecture="topk", d_sae=64, l0=4, steps=30, batch=256, lr=3e-3, end_to_end=True)


@pytest.fixture(scope="module")
def texts(few_texts) -> tuple[str, ...]:
    return few_texts.texts[0].texts[:24]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(long_run, "SAMPLE_ROWS", 256)
    monkeypatch.setattr("saebench_lite.recipes.spliced.TEXTS_A_PASS", 8)


def batch_of(pico, texts) -> Spliced:
    return next(SplicedStream(pico, HOOK, texts, batch=512).batches())[0]


def test_the_models_own_activations_change_nothing_and_others_do(pico, texts):
    batch = batch_of(pico, texts)
    assert batch.divergence(batch.x).item() == pytest.approx(0, abs=1e-5)
    clean, spliced, count = batch.cross_entropies(batch.x)
    assert clean == pytest.approx(spliced, rel=1e-5)
    assert count == int((batch.batch.real[:, :-1] & batch.batch.attention[:, 1:]).sum())
    clean, spliced, _ = batch.cross_entropies(torch.zeros_like(batch.x))
    assert spliced > clean
    p = pico.logits(batch.batch)[batch.batch.real].double().log_softmax(-1)
    q = batch.logits(torch.zeros_like(batch.x))[batch.batch.real].detach().double().log_softmax(-1)
    expected = torch.nn.functional.kl_div(q, p, log_target=True, reduction="batchmean").item()
    assert batch.divergence(torch.zeros_like(batch.x)).item() == pytest.approx(expected, rel=1e-4)


def test_both_parts_of_the_loss_count_alike():
    error, divergence = torch.tensor(8.0, requires_grad=True), torch.tensor(0.5, requires_grad=True)
    loss = both_alike(error, divergence)
    loss.backward()
    assert loss.item() == pytest.approx(8.0)
    assert (error.grad, divergence.grad) == (pytest.approx(0.5), pytest.approx(0.5 * 8 / 0.5))  # relative: equal


@pytest.mark.parametrize("architecture", ["gated", "matryoshka"])
def test_the_loss_sees_the_whole_reconstruction_at_the_inputs_scale(pico, texts, architecture):
    batch = batch_of(pico, texts)
    trainer = trainer_for(replace(RECIPE, architecture=architecture), batch.x)
    seen = []
    scaled = batch.x * trainer.scale
    trainer.loss(scaled, 0, lambda rows: seen.append(rows.detach()) or batch.divergence(rows))
    codes = trainer.codes(scaled).f
    expected = (codes @ trainer.decoder() + trainer.p["b_dec"]).detach() / trainer.scale
    torch.testing.assert_close(seen[0], expected, rtol=1e-3, atol=1e-3)


def test_a_stream_gives_each_text_once_an_epoch_and_goes_on_from_any_place(pico, texts):
    stream = SplicedStream(pico, HOOK, texts, batch=256, seed=3)
    whole = list(islice(stream.batches(), 14))
    first = [batch.batch for batch, place in whole if place.epoch == 0]
    assert sum(len(b.ids) for b in first) == len(texts)
    for k in (0, 2, len(first)):
        again = list(islice(stream.batches(whole[k][1]), 13 - k))
        for (a, here), (b, there) in zip(whole[k + 1 :], again, strict=True):
            assert here == there
            assert torch.equal(a.batch.ids, b.batch.ids)


def test_an_interrupted_training_ends_with_the_same_bits(pico, texts, tmp_path: Path):
    def stop(step: int, _: int) -> None:
        if step == 4:
            signal.raise_signal(signal.SIGINT)

    recipes = {"one": replace(RECIPE, steps=8), "two": replace(RECIPE, steps=8, architecture="relu")}
    through = train_on_texts(pico, HOOK, texts, recipes, tmp_path / "through")
    with pytest.raises(KeyboardInterrupt):
        train_on_texts(pico, HOOK, texts, recipes, tmp_path / "stopped", on_step=stop)
    resumed = train_on_texts(pico, HOOK, texts, recipes, tmp_path / "stopped")
    for name, sae in through.items():
        assert fingerprint(resumed[name]) == fingerprint(sae)
        assert resumed[name].meta["training_tokens"] == sae.meta["training_tokens"] > 8 * 100
        assert sae.meta["recipe"]["end_to_end"]


def test_predictions_suffer_less_than_with_the_squared_error_alone(pico, texts, tmp_path: Path):
    batch, cost = batch_of(pico, texts), {}
    for name, through in (("activations", False), ("model", True)):
        made = train_on_texts(pico, HOOK, texts, {"one": replace(RECIPE, end_to_end=through)}, tmp_path / name)
        with torch.no_grad():
            cost[name] = batch.divergence(reconstruct(made["one"], batch.x)).item()
    assert cost["model"] < 0.95 * cost["activations"]


def test_what_cannot_be_is_a_sentence(pico, texts, tmp_path: Path):
    with pytest.raises(SaebenchError, match="activations alone cannot train end to end; use train_on_texts"):
        train_sae(torch.randn(100, 8), RECIPE)
    recipes = {"a": RECIPE, "b": replace(RECIPE, end_to_end=False)}
    with pytest.raises(SaebenchError, match="one number of steps and one batch"):
        train_on_texts(pico, HOOK, texts, recipes, tmp_path)
    with pytest.raises(SaebenchError, match="there are no texts to train on"):
        SplicedStream(pico, HOOK, [], batch=64)
    with pytest.raises(SaebenchError, match="the texts hold no real token"):
        next(SplicedStream(pico, HOOK, [""], batch=64).batches())
