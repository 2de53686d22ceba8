"""Texts to batches, fingerprints, and what a model folder may do."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import processors

from saebench_lite.bundled import ROOT
from saebench_lite.errors import SaebenchError
from saebench_lite.models.language_model import LanguageModel
from tests.helpers.tiny_models import (
    batch_of,
    tokenizer,
)


def test_long_texts_are_cut_on_the_side_asked_for(built):
    lm = built("llama")
    text = " ".join("abcdefghij")
    assert lm.tokenize([text], context=4, long_texts="cut_right") == [[0, 3, 4, 5]]
    assert lm.tokenize([text], context=4, long_texts="cut_left") == [[0, 10, 11, 12]]
    with pytest.raises(SaebenchError, match="text 1 has 11 tokens, more than the context of 4"):
        lm.tokenize(["a", text], context=4, long_texts="refuse")
    with pytest.raises(SaebenchError, match="context 64 is more than the 32 tokens"):
        lm.tokenize([text], context=64, long_texts="cut_right")


def test_text_is_cut_between_the_special_tokens_of_an_encoder(built):
    words: Any = tokenizer()
    words.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 0)]
    )
    lm = LanguageModel(built("bert").net, words, name="bert")
    text = " ".join("abcdefghij")
    assert lm.tokenize([text], context=5, long_texts="cut_right") == [[0, 3, 4, 5, 0]]
    assert lm.tokenize([text], context=5, long_texts="cut_left") == [[0, 10, 11, 12, 0]]
    assert lm.tokenize([], context=5, long_texts="cut_left") == []
    for context in (0, 1, 2):
        with pytest.raises(SaebenchError, match=f"context {context} has no room for text beside 2 special"):
            lm.tokenize([text], context=context, long_texts="cut_right")


def test_masks_come_from_the_tokenizer(built):
    lm = built("llama")
    batch = batch_of(lm)
    assert batch.attention.tolist() == [[True] * 7, [True] * 4 + [False] * 3]
    assert batch.real.tolist() == [[False] + [True] * 6, [False] + [True] * 3 + [False] * 3]
    assert lm.real_lengths([[0, 5, 1], [0]]) == [1, 0]


def test_unknown_words_are_part_of_the_text(built):
    lm = built("llama")
    assert lm.tokenize(["a %"], context=None, long_texts="cut_right") == [[0, 3, 2]]
    assert lm.real_lengths([[0, 3, 2]]) == [2]


def test_a_tokenizer_without_pad_is_left_alone(built):
    words = tokenizer()
    words.pad_token = None
    lm = LanguageModel(built("llama").net, words, name="x")
    batch = batch_of(lm)
    assert batch.ids[1].tolist() == [0, 9, 10, 11, 0, 0, 0]
    assert batch.attention[1].tolist() == [True] * 4 + [False] * 3
    assert words.pad_token is None


def test_batches_hold_every_row_once_within_the_limit(built):
    lm = built("llama")
    ids = [[0] + [3] * n for n in (5, 1, 9, 2, 2, 30)]
    rows = []
    for numbers, batch in lm.batches(ids, max_tokens=20):
        rows += numbers
        assert batch.ids.numel() <= 20 or len(numbers) == 1
    assert sorted(rows) == list(range(6))


def test_fingerprint_follows_weights_not_names(built):
    lm = built("llama")
    other = copy.deepcopy(lm.net)
    assert LanguageModel(other, tokenizer(), name="x").fingerprint() == lm.fingerprint()
    with torch.no_grad():
        other.lm_head.weight[0, 0] += 1
    assert LanguageModel(other, tokenizer(), name="x").fingerprint() != lm.fingerprint()


@pytest.mark.parametrize("counted", [True, False], ids=["counted", "by data"])
@pytest.mark.parametrize("rows", [slice(None), slice(1, 2)], ids=["all", "a row"])
def test_an_edit_in_place_is_noticed(built, counted, rows):
    lm = LanguageModel(copy.deepcopy(built("llama").net), tokenizer(), name="x")
    hook = "blocks.1.hook_resid_post"
    before, measured = lm.fingerprint(), lm.positions(hook)
    assert lm.positions(hook) is measured
    weight = lm.net.lm_head.weight  # type: ignore[union-attr]
    with torch.no_grad():
        (weight if counted else weight.data)[rows] *= 2.0  # type: ignore[index]
    assert lm.positions(hook) is not measured
    assert lm.fingerprint() == LanguageModel(lm.net, tokenizer(), name="x").fingerprint() != before


def test_what_goes_in_front_is_asked_anew_after_an_edit(built):
    """The rule `auto` puts a BOS in front where the first token is an attention sink, which fine-tuning may change."""
    lm = LanguageModel(copy.deepcopy(built("llama").net), tokenizer(), name="x")
    lm.front = lm.front._replace(token=1)
    with torch.no_grad():
        lm.net.lm_head.weight.add_(1.0)  # type: ignore[union-attr, operator]
    lm.positions("blocks.1.hook_resid_post")
    assert lm.front.token is None


def test_fingerprint_takes_any_weight(built):
    net = copy.deepcopy(built("llama").net)
    net.register_buffer("scale", torch.tensor(1.0, dtype=torch.bfloat16))
    one = LanguageModel(net, tokenizer(), name="x").fingerprint()
    net.scale += 1
    assert LanguageModel(net, tokenizer(), name="x").fingerprint() != one


def test_bundled_model_and_bad_requests():
    lm = LanguageModel.load("pico")
    assert (lm.width, lm.n_layers, lm.context, lm.is_causal, lm.vocabulary) == (128, 5, 256, True, 4096)
    assert lm.dtype == torch.float32
    assert LanguageModel.load("pico", dtype="bfloat16").dtype == torch.bfloat16
    requests: tuple[tuple[dict[str, Any], str], ...] = (
        ({"name": "no/such-model"}, "no/such-model"),
        ({"name": "./no-such-folder"}, "no model folder at './no-such-folder'"),
        ({"name": "pico", "dtype": "int3"}, "dtype 'int3'"),
        ({"name": "pico", "device": "gpu"}, "device 'gpu' is not known"),
        ({"name": "pico", "device": "cuda:99"}, "device 'cuda:99' is not available"),
    )
    for request, message in requests:
        with pytest.raises(SaebenchError, match=message):
            LanguageModel.load(**request)


@pytest.fixture
def folder(tmp_path):
    return Path(shutil.copytree(ROOT / "pico", tmp_path / "copy"))


def test_a_damaged_folder_is_refused(folder):
    file = folder / "model.safetensors"
    whole = load_file(file)
    del whole["model.layers.2.mlp.down_proj.weight"]
    save_file(whole, file, metadata={"format": "pt"})
    with pytest.raises(SaebenchError, match=r"lacks 1 of its weights \(model.layers.2.mlp.down_proj.weight"):
        LanguageModel.load(str(folder))
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(SaebenchError, match="cannot be loaded"):
        LanguageModel.load(str(folder))


def test_code_of_a_model_folder_is_never_offered_to_run(folder, monkeypatch):
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "unheard_of", "auto_map": {"AutoConfig": "code.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    asked = []
    monkeypatch.setattr("builtins.input", lambda *args: asked.append(args) or "n")
    with pytest.raises(SaebenchError, match="cannot be loaded"):
        LanguageModel.load(str(folder))
    assert not asked


def test_random_weights_are_the_same_every_time_and_know_nothing():
    real, one, two = (LanguageModel.load(n) for n in ("pico", "random:pico", "random:pico"))
    assert one.name == "random:pico"
    assert one.fingerprint() == two.fingerprint() != real.fingerprint()
    ids = real.tokenize(
        ["The capital of France is Paris, and it lies on a river."], context=None, long_texts="cut_right"
    )
    losses = []
    for lm in (real, one):
        batch = next(iter(lm.batches(ids, max_tokens=1000)))[1]
        logits = lm.logits(batch)[0, :-1]
        losses.append(torch.nn.functional.cross_entropy(logits, batch.ids[0, 1:]).item())
    assert losses[1] > 0.9 * torch.tensor(4096.0).log().item() > losses[0]
