"""Hooks of every named architecture, held to `output_hidden_states` and to plain patched forwards."""

import copy
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers import models as hf

from saebench_lite.errors import SaebenchError
from saebench_lite.hookpoints import find_module, parse_hook
from saebench_lite.model import LanguageModel

SMALL: dict[str, Any] = {"vocab_size": 40, "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 3}
LLAMA_LIKE: dict[str, Any] = SMALL | {
    "intermediate_size": 24,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 32,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
CONFIGS = {
    "gpt2": lambda: hf.gpt2.GPT2Config(vocab_size=40, n_embd=16, n_head=2, n_layer=3, n_positions=32),
    "gpt_neox": lambda: hf.gpt_neox.GPTNeoXConfig(**SMALL, intermediate_size=24, max_position_embeddings=32),
    "gpt_neox_sequential": lambda: hf.gpt_neox.GPTNeoXConfig(
        **SMALL, intermediate_size=24, max_position_embeddings=32, use_parallel_residual=False
    ),
    "llama": lambda: hf.llama.LlamaConfig(**LLAMA_LIKE),
    "mistral": lambda: hf.mistral.MistralConfig(**LLAMA_LIKE, sliding_window=None),
    "gemma2": lambda: hf.gemma2.Gemma2Config(**LLAMA_LIKE, final_logit_softcapping=3.0),
    "gemma3": lambda: hf.gemma3.Gemma3TextConfig(**LLAMA_LIKE),
    "qwen2": lambda: hf.qwen2.Qwen2Config(**LLAMA_LIKE),
    "qwen3": lambda: hf.qwen3.Qwen3Config(**LLAMA_LIKE),
    "opt": lambda: hf.opt.OPTConfig(
        **SMALL, ffn_dim=24, max_position_embeddings=32, word_embed_proj_dim=16, pad_token_id=1
    ),
    "phi": lambda: hf.phi.PhiConfig(**SMALL, intermediate_size=24, max_position_embeddings=32),
    "bert": lambda: hf.bert.BertConfig(**SMALL, intermediate_size=24, max_position_embeddings=32),
}
CAUSAL = [name for name in CONFIGS if name != "bert"]
KINDS = ("resid_pre", "resid_post", "attn_out", "mlp_out")


def tokenizer(bos: bool = True) -> PreTrainedTokenizerFast:
    words = ["<s>", "<pad>", "<unk>", *"abcdefghijklmnopqrstuvwxyz"]
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    if bos:
        core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    special: dict[str, Any] = {"bos_token": "<s>", "eos_token": "<s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=32, **special)


@pytest.fixture(scope="module")
def built():
    cache: dict[str, LanguageModel] = {}

    def build(name: str) -> LanguageModel:
        if name not in cache:
            torch.manual_seed(0)
            auto = AutoModel if name == "bert" else AutoModelForCausalLM
            net = auto.from_config(CONFIGS[name]())
            for parameter in net.parameters():  # biases and norms away from 0 and 1: a hook in the wrong place shows
                nn.init.normal_(parameter, std=0.3)
            cache[name] = LanguageModel(net, tokenizer(), name=name)
        return cache[name]

    return build


def batch_of(lm: LanguageModel, texts=("a b c d e f", "g h i")):
    ids = lm.tokenize(texts, context=None, long_texts="cut_right")
    return next(iter(lm.batches(ids, max_tokens=1000)))[1]


@pytest.mark.parametrize("name", CONFIGS)
def test_residual_stream_matches_hidden_states(built, name):
    lm = built(name)
    batch = batch_of(lm)
    with torch.no_grad():
        states = lm.net(batch.ids, attention_mask=batch.attention.long(), output_hidden_states=True).hidden_states
    hooks = [f"blocks.{n}.hook_resid_{side}" for n in range(3) for side in ("pre", "post")]
    got = lm.collect(batch, hooks)
    for n in range(3):
        torch.testing.assert_close(got[f"blocks.{n}.hook_resid_pre"], states[n])
        if n < 2:  # after the last block causal models report the normed state
            torch.testing.assert_close(got[f"blocks.{n}.hook_resid_post"], states[n + 1])


@pytest.mark.parametrize("name", CAUSAL)
def test_blocks_add_attention_and_mlp_to_the_stream(built, name):
    lm = built(name)
    got = lm.collect(batch_of(lm), [f"blocks.1.hook_{kind}" for kind in KINDS])
    pre, post, attention, mlp = (got[f"blocks.1.hook_{kind}"] for kind in KINDS)
    torch.testing.assert_close(post, pre + attention + mlp, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_resuming_equals_a_full_patched_forward(built, name, kind, layer):
    lm = built(name)
    batch, hook = batch_of(lm), f"blocks.{layer}.hook_{kind}"
    plain, prefix = lm.logits(batch), lm.prefix(batch, hook)
    real = batch.attention
    torch.testing.assert_close(
        lm.logits_with(batch, prefix, prefix.acts, hook)[real], plain[real], rtol=1e-4, atol=1e-5
    )
    other = prefix.acts + torch.randn(prefix.acts.shape, generator=torch.Generator().manual_seed(1))
    resumed = lm.logits_with(batch, prefix, other, hook)
    with lm._writing(parse_hook(hook), other):
        full = lm.logits(batch)
    torch.testing.assert_close(resumed[real], full[real], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(lm.logits(batch), plain)  # nothing stays patched


@pytest.mark.parametrize("name", CAUSAL)
def test_logits_from_the_last_block(built, name):
    lm = built(name)
    batch = batch_of(lm)
    torch.testing.assert_close(lm.logits_from_final(batch, lm.final(batch)), lm.logits(batch), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CONFIGS)
def test_padding_does_not_change_a_real_token(built, name):
    lm, hook = built(name), "blocks.1.hook_resid_post"
    together = lm.collect(batch_of(lm), [hook])[hook][1, :4]
    alone = lm.collect(batch_of(lm, ["g h i"]), [hook])[hook][0]
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_forward_stops_after_the_deepest_hook(built):
    lm = built("llama")
    seen = []
    handles = [b.register_forward_hook(lambda *_, n=n: seen.append(n)) for n, b in enumerate(lm.blocks)]
    lm.collect(batch_of(lm), ["blocks.0.hook_resid_pre", "blocks.1.hook_attn_out"])
    for handle in handles:
        handle.remove()
    assert seen == [0]


def test_module_path_and_unknown_hooks(built):
    lm = built("llama")
    assert lm.hook_width("model.layers.1.mlp.gate_proj") == 24
    assert lm.hook_width("blocks.2.hook_mlp_out") == 16
    with pytest.raises(SaebenchError, match="has 3 blocks, 0 to 2"):
        lm.hook_width("blocks.3.hook_resid_post")
    with pytest.raises(SaebenchError, match=r"close: .*gate_proj"):
        lm.hook_width("model.layers.1.mlp.gateproj")
    with pytest.raises(SaebenchError, match="does not exist"):
        lm.hook_width("blocks.1.hook_z")


def test_bert_sublayers_are_what_is_added(built):
    lm = built("bert")
    block = lm.blocks[1]
    assert find_module(lm.net, lm.blocks, parse_hook("blocks.1.hook_attn_out")) is block.attention.output.dense
    assert find_module(lm.net, lm.blocks, parse_hook("blocks.1.hook_mlp_out")) is block.output.dense


def test_long_texts_are_cut_on_the_side_asked_for(built):
    lm = built("llama")
    text = " ".join("abcdefghij")
    assert lm.tokenize([text], context=4, long_texts="cut_right") == [[0, 3, 4, 5]]
    assert lm.tokenize([text], context=4, long_texts="cut_left") == [[0, 10, 11, 12]]
    with pytest.raises(SaebenchError, match="text 1 has 11 tokens, more than the context of 4"):
        lm.tokenize(["a", text], context=4, long_texts="refuse")
    with pytest.raises(SaebenchError, match="context 64 is more than the 32 tokens"):
        lm.tokenize([text], context=64, long_texts="cut_right")


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


def test_bundled_model_and_missing_model():
    lm = LanguageModel.load("pico")
    assert (lm.width, lm.n_layers, lm.context, lm.is_causal, lm.vocabulary) == (128, 5, 256, True, 4096)
    with pytest.raises(SaebenchError, match="no/such-model"):
        LanguageModel.load("no/such-model")
    with pytest.raises(SaebenchError, match="dtype 'int3'"):
        LanguageModel.load("pico", dtype="int3")
