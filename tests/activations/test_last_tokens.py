"""Texts that share a beginning have the activations that they have one by one, or are read one by one."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM
from transformers import models as hf

from saebench_lite.activations.last_tokens import by_beginning
from saebench_lite.activations.store import collect
from saebench_lite.data.types import Corpus
from saebench_lite.models.branches import LONGEST, MOST, branches, longest_beginning
from saebench_lite.models.language_model import LanguageModel
from tests.conftest import HOOK
from tests.helpers.planted_sink import planted
from tests.helpers.tiny_models import CAUSAL, CONFIGS, LLAMA_LIKE, SMALL, tokenizer

JAMBA: dict[str, Any] = LLAMA_LIKE | {
    "num_hidden_layers": 4,
    "use_mamba_kernels": False,
    "num_experts": 2,
    "mamba_d_state": 4,
}
ODD: dict[str, Any] = {
    "bloom": lambda: hf.bloom.BloomConfig(vocab_size=40, hidden_size=16, n_layer=3, n_head=2),
    "falcon_alibi": lambda: hf.falcon.FalconConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, alibi=True
    ),
    "mamba": lambda: hf.mamba.MambaConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=3, state_size=4, time_step_rank=2
    ),
    "gpt_neo": lambda: hf.gpt_neo.GPTNeoConfig(
        vocab_size=40,
        hidden_size=16,
        num_layers=2,
        num_heads=2,
        attention_types=[[["global", "local"], 1]],
        window_size=96,
        max_position_embeddings=256,
    ),
    "mpt": lambda: hf.mpt.MptConfig(vocab_size=40, d_model=16, n_heads=2, n_layers=3, max_seq_len=256),
    "jamba": lambda: hf.jamba.JambaConfig(**JAMBA),
    "window": lambda: hf.mistral.MistralConfig(**LLAMA_LIKE, sliding_window=100),
    "bert": lambda: hf.bert.BertConfig(**SMALL, intermediate_size=24, max_position_embeddings=32),
}
LETTERS = "abcdefghijklm"
TEXTS = tuple(
    f"{beginning} {end}"
    for beginning in ("n o p q", "r s", "q r s t u v w x y", "a b c d e f g h i j k l m n o p q r s")
    for end in LETTERS
)


def model(name: str, context: int = 256, dtype: torch.dtype = torch.float32) -> LanguageModel:
    torch.manual_seed(0)
    kind = AutoModel if name == "bert" else AutoModelForCausalLM
    config = (CONFIGS | ODD)[name]()
    for field in ("max_position_embeddings", "n_positions"):
        if hasattr(config, field):
            setattr(config, field, context)
    net: Any = kind.from_config(config)
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    words = tokenizer()
    words.model_max_length = context
    return LanguageModel(net.to(dtype), words, name=name)


def both_ways(lm: LanguageModel, hook: str, texts: tuple[str, ...], monkeypatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Last tokens of texts that share beginnings, and of the same texts one by one."""
    corpus = Corpus("t", texts)
    packed, notes = collect(lm, hook, corpus, tokens="last", batch_tokens=64)
    monkeypatch.setattr(type(lm), "shared_beginnings", lambda self: 0)
    alone, the_same = collect(lm, hook, corpus, tokens="last", batch_tokens=64)
    assert notes == the_same
    return packed.x, alone.x


@pytest.mark.parametrize("name", [*CAUSAL, *(n for n in ODD if n != "bert")])
def test_activations_are_those_of_the_texts_one_by_one(name, monkeypatch):
    lm = model(name)
    packed, alone = both_ways(lm, "blocks.1.hook_resid_post", TEXTS, monkeypatch)
    torch.testing.assert_close(packed, alone, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_models_that_heed_the_mask_are_known(dtype):
    """Half precision does not hide a model that counts columns (MPT) or mixes them (Mamba), unless in its digits."""
    reads = {name: model(name, dtype=dtype).shared_beginnings() for name in (*CAUSAL, *ODD)}
    assert {reads[name] for name in ("gpt2", "gpt_neox", "llama", "qwen3", "phi", "opt")} == {128}
    assert reads["window"] == 36
    assert [reads[name] for name in ("bloom", "mpt", "mamba", "bert")] == [0] * 4
    assert reads["jamba"] == 0 or dtype == torch.bfloat16  # with random weights it mixes less than rounding does


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_the_bundled_model_takes_branches_in_any_precision(dtype):
    assert LanguageModel.load("pico", dtype=dtype).shared_beginnings() == 128


@pytest.mark.parametrize("context", [16, 64, 88, 96, 130])
@pytest.mark.parametrize("name", ["gpt2", "gpt_neo", "llama"])
def test_rows_are_no_longer_than_the_context(name, context, monkeypatch):
    texts = tuple(f"{'n o p q ' * n}{end}" for n in (1, 3) for end in LETTERS)
    packed, alone = both_ways(model(name, context), "blocks.1.hook_resid_post", texts, monkeypatch)
    torch.testing.assert_close(packed, alone, rtol=1e-3, atol=1e-4)


def test_beginnings_leave_room_for_the_texts_of_a_row():
    def most(context: int, attention: str | None = "sdpa", **fields: int) -> int:
        return longest_beginning(context, SimpleNamespace(_attn_implementation=attention, **fields))

    assert most(10**6) == LONGEST
    assert most(200, "eager") == most(10**6, sliding_window=200) == 100
    assert most(100) == 100 - MOST
    assert most(80) == most(10**6, "flash_attention_2") == most(10**6, None) == 0


def test_bundled_model_reads_a_beginning_once(pico, monkeypatch):
    words = [" a", " to", " in", " of", " I", " it"]
    texts = tuple("x y" * n + word for n in (3, 9, 20) for word in words)
    read, real = [], LanguageModel.collect

    def counted(self, batch, hooks):
        read.append(batch.ids.numel())
        return real(self, batch, hooks)

    assert pico.shared_beginnings() == 128
    assert pico.positions(HOOK)  # measured before
    monkeypatch.setattr(LanguageModel, "collect", counted)
    collect(pico, HOOK, Corpus("t", texts), tokens="last")
    shared = sum(read)
    read.clear()
    packed, alone = both_ways(pico, HOOK, texts, monkeypatch)
    torch.testing.assert_close(packed, alone, rtol=1e-4, atol=1e-4)
    assert 2 * shared < sum(read) - shared


@pytest.mark.parametrize("rule", [{"leave_out": "sinks"}, {"leave_out": "first"}, {"leave_out": "special"}])
def test_a_last_token_that_the_rule_leaves_out_gives_way_to_the_one_before(pico, monkeypatch, rule):
    """The word "the" is a sink wherever it stands: where it ends a text, and where it is the last of a beginning."""
    (sink,) = pico.tokenizer(" the", add_special_tokens=False)["input_ids"]
    lm = planted(pico, lambda ids: ids == sink, **rule)
    texts = ("A cat saw the", "A cat saw it", "A cat saw me", "Behind the sea", "Behind the the", "Behind the sun")
    packed, alone = both_ways(lm, HOOK, texts, monkeypatch)
    torch.testing.assert_close(packed, alone, rtol=1e-3, atol=1e-3)


def test_a_beginning_is_shared_by_texts_that_differ_in_the_last_token_alone():
    ids = [[1, 2, 3], [1, 2, 4], [1, 5], [7], [1, 2, 3], [9, 9, 9, 9, 1], [9, 9, 9, 9, 2], [1, 6, 3]]
    assert by_beginning(ids, 3) == ([([1, 2], [0, 1, 4])], [2, 3, 5, 6, 7])
    many = [[1, i] for i in range(MOST + 3)]
    shared, rest = by_beginning(many, 3)
    assert [len(rows) for _, rows in shared] == [MOST, 3]
    assert rest == []
    assert by_beginning(ids, 0) == ([], list(range(8)))


def test_what_a_token_sees_and_where_it_stands():
    packed = branches([[1, 2], [3]], [[4], [5, 6]], torch.device("cpu"))
    assert packed.ids.tolist() == [[1, 2, 4, 0], [3, 0, 5, 6]]
    assert packed.places().tolist() == [[0, 1, 2, 2], [0, 1, 1, 1]]
    assert packed.sees().int().tolist() == [
        [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 0, 1]],
        [[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1]],
    ]
    mask = packed.mask(torch.float32)
    assert mask.shape == (2, 1, 4, 4)
    assert torch.equal(mask[:, 0] == 0, packed.sees())
