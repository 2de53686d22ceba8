"""Training on a stream of texts: shuffled, deterministic, the same bits after an interruption."""

from __future__ import annotations

import json
import signal
from itertools import islice
from pathlib import Path

import pytest
import torch

from saebench_lite.activations.store import collect
from saebench_lite.data.types import Corpus
from saebench_lite.errors import SaebenchError
from saebench_lite.recipes import long_run
from saebench_lite.recipes.long_run import CHECKPOINT, discard, train_on_texts
from saebench_lite.recipes.recipe import SAERecipe
from saebench_lite.recipes.text_stream import Place, TextStream
from saebench_lite.saes.identity import fingerprint
from tests.conftest import HOOK

RECIPES = {
    name: SAERecipe(architecture=name, d_sae=64, l0=4, steps=30, batch=64)
    for name in ("relu", "batchtopk", "jumprelu", "matching_pursuit")
}


@pytest.fixture(scope="module")
def texts(few_texts) -> tuple[str, ...]:
    return few_texts.texts[0].texts[:40]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(long_run, "SAMPLE_ROWS", 256)
    monkeypatch.setattr("saebench_lite.recipes.text_stream.TEXTS_A_PASS", 8)
    monkeypatch.setattr("saebench_lite.recipes.text_stream.ROWS", 256)


def test_a_stream_gives_every_row_once_an_epoch_in_an_order_of_its_own(pico, texts):
    acts, _ = collect(pico, HOOK, Corpus("all", texts))
    stream = TextStream(pico, HOOK, texts, batch=1, rows=10 * acts.tokens)
    first = torch.cat([x for x, _ in islice(stream.batches(), acts.tokens)])
    # a buffer of two epochs holds every row twice; one of many epochs is never made
    buffer, after = stream._buffer(Place())
    assert len(buffer) == 2 * acts.tokens
    assert (after.epoch, after.text) == (2, 0)
    for row in acts.x[:: acts.tokens // 7]:
        held, given = (((rows - row).abs().amax(1) < 1e-4).sum() for rows in (acts.x, buffer))
        assert given == 2 * held  # texts that begin alike share rows
    assert not torch.allclose(first[:20], acts.x[:20])


def test_a_stream_goes_on_from_any_place(pico, texts):
    stream = TextStream(pico, HOOK, texts, batch=64, rows=256, seed=3)
    whole = list(islice(stream.batches(), 20))
    for k in (0, 1, 3, 7):
        again = list(islice(stream.batches(whole[k][1]), 20 - k - 1))
        assert all(torch.equal(a, b) for (a, _), (b, _) in zip(whole[k + 1 :], again, strict=True))
    other = next(TextStream(pico, HOOK, texts, batch=64, rows=256, seed=4).batches())[0]
    assert not torch.equal(other, whole[0][0])


def test_texts_without_enough_tokens_are_a_sentence(pico):
    with pytest.raises(SaebenchError, match=r"2 texts hold \d+ tokens to train on where a batch has 64; give more"):
        next(TextStream(pico, HOOK, ["a b", "c d", "c d"], batch=64).batches())
    with pytest.raises(SaebenchError, match="no texts to train on"):
        TextStream(pico, HOOK, [], batch=64)


def test_an_interrupted_training_ends_with_the_same_bits(pico, texts, tmp_path: Path):
    def stop(step: int, steps: int) -> None:
        assert steps == 30
        if step == 16:
            signal.raise_signal(signal.SIGINT)  # comes in the middle of a step, as Ctrl-C does

    through = train_on_texts(pico, HOOK, texts, RECIPES, tmp_path / "through")
    again = train_on_texts(pico, HOOK, texts, RECIPES, tmp_path / "through", on_step=stop)  # no step is left
    assert {n: fingerprint(s) for n, s in again.items()} == {n: fingerprint(s) for n, s in through.items()}
    discard(tmp_path / "through")
    assert not (tmp_path / "through" / CHECKPOINT).exists()
    folder = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        train_on_texts(pico, HOOK, texts, RECIPES, folder, on_step=stop)
    seen: list[int] = []
    resumed = train_on_texts(pico, HOOK, texts, RECIPES, folder, on_step=lambda step, _: seen.append(step))
    assert seen == list(range(18, 31))
    for name, sae in through.items():
        assert fingerprint(resumed[name]) == fingerprint(sae), name
        assert resumed[name].meta["held_out"] == sae.meta["held_out"]
        assert resumed[name].meta["training_curve"] == sae.meta["training_curve"]
        assert sae.meta["training_curve"]["step"][-1] == 29
        assert json.dumps(sae.meta)


def test_a_checkpoint_written_while_it_goes_serves_after_a_kill(pico, texts, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(long_run, "SAVE_SECONDS", 0.0)
    recipes, kept = {"one": RECIPES["batchtopk"]}, tmp_path / "kept"
    kept.mkdir()

    def look(step: int, steps: int) -> None:
        del steps
        if step == 10:  # what a kill at this moment would leave
            (kept / CHECKPOINT).write_bytes((tmp_path / CHECKPOINT).read_bytes())

    train_on_texts(pico, HOOK, texts, recipes, tmp_path, on_step=look)
    seen: list[int] = []
    resumed = train_on_texts(pico, HOOK, texts, recipes, kept, on_step=lambda step, _: seen.append(step))
    assert seen == list(range(11, 31))  # ten steps were saved
    through = train_on_texts(pico, HOOK, texts, recipes, tmp_path / "through")
    assert fingerprint(resumed["one"]) == fingerprint(through["one"])


def test_a_checkpoint_of_another_training_is_refused(pico, texts, tmp_path: Path):
    recipes = {"one": RECIPES["batchtopk"]}

    def stop(*_: int) -> None:
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train_on_texts(pico, HOOK, texts, recipes, tmp_path, on_step=stop)
    with pytest.raises(SaebenchError, match="a training with other texts; give the same options, or another folder"):
        train_on_texts(pico, HOOK, texts[:-1], recipes, tmp_path)
    with pytest.raises(SaebenchError, match="a training with other recipes"):
        train_on_texts(pico, HOOK, texts, {"one": RECIPES["relu"]}, tmp_path)
    (tmp_path / CHECKPOINT).write_bytes(b"no tensors")
    with pytest.raises(SaebenchError, match=r"is no whole checkpoint .*; delete it to begin again"):
        train_on_texts(pico, HOOK, texts, recipes, tmp_path)


def test_recipes_of_other_steps_cannot_share_a_stream(pico, texts, tmp_path: Path):
    other = SAERecipe(architecture="relu", d_sae=64, l0=4, steps=31, batch=64)
    with pytest.raises(SaebenchError, match="one number of steps and one batch"):
        train_on_texts(pico, HOOK, texts, {"a": RECIPES["relu"], "b": other}, tmp_path)
