"""Hooks are what they are called, or the model is refused with the reason."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModel
from transformers import models as hf

from saebench_lite.errors import SaebenchError
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.models.limits import NO_LIMIT, context_of
from tests.helpers.tiny_models import KINDS, LLAMA_LIKE, SMALL, batch_of, tokenizer

ODD: dict[str, Any] = {
    "bloom": lambda: hf.bloom.BloomConfig(vocab_size=40, hidden_size=16, n_layer=3, n_head=2),
    "granite": lambda: hf.granite.GraniteConfig(**LLAMA_LIKE, residual_multiplier=0.2),
    "glm4": lambda: hf.glm4.Glm4Config(**LLAMA_LIKE),
    "olmo2": lambda: hf.olmo2.Olmo2Config(**dict(LLAMA_LIKE, num_key_value_heads=2)),
    "falcon": lambda: hf.falcon.FalconConfig(vocab_size=40, hidden_size=16, num_hidden_layers=3, num_attention_heads=2),
    "opt_post_norm": lambda: hf.opt.OPTConfig(
        **SMALL, ffn_dim=24, max_position_embeddings=32, word_embed_proj_dim=16, do_layer_norm_before=False
    ),
    "roberta": lambda: hf.roberta.RobertaConfig(**SMALL, intermediate_size=24, max_position_embeddings=20),
    "gpt1": lambda: hf.openai.OpenAIGPTConfig(vocab_size=40, n_embd=16, n_head=2, n_layer=3, n_positions=32),
    "xlnet": lambda: hf.xlnet.XLNetConfig(vocab_size=40, d_model=16, n_head=2, n_layer=3, d_inner=24),
}
ADDED = ("blocks.1.hook_attn_out", "blocks.1.hook_mlp_out")


def model(name: str) -> LanguageModel:
    torch.manual_seed(0)
    net: Any = AutoModel.from_config(ODD[name]())
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    return LanguageModel(net, tokenizer(), name=name)


@pytest.mark.parametrize("name", ["bloom", "granite"])
def test_modules_that_hold_something_else_are_refused_with_the_reason(name):
    lm = model(name)
    for hook in ADDED * 2:  # asking again changes nothing
        with pytest.raises(SaebenchError, match=r"hook '.*' of .* cannot be trusted: .* is off resid_post by"):
            lm.hook_width(hook)
    assert lm.hook_width("blocks.1.hook_resid_post") == 16  # the stream itself is right


@pytest.mark.parametrize("name", ["glm4", "olmo2", "falcon"])
def test_norms_after_attention_and_mlp_are_part_of_what_is_added(name):
    lm = model(name)
    got = lm.collect(batch_of(lm), [f"blocks.1.hook_{kind}" for kind in KINDS])
    pre, post, attention, mlp = (got[f"blocks.1.hook_{kind}"] for kind in KINDS)
    torch.testing.assert_close(post, pre + attention + mlp, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["opt_post_norm", "roberta"])
def test_models_that_norm_each_sum_keep_their_hooks(name):
    for hook in ADDED:
        assert model(name).hook_width(hook) == 16


def test_a_scale_put_into_a_model_is_found():
    lm = model("glm4")
    lm.hook_width(ADDED[0])  # a block is checked once
    block: Any = lm.blocks[2]
    block.mlp.down_proj.register_forward_hook(lambda _, __, out: out)
    forward = block.post_mlp_layernorm.forward
    block.post_mlp_layernorm.register_forward_hook(lambda _, __, out: out * 1.5, always_call=True)
    block.post_mlp_layernorm.forward = forward
    assert lm.hook_width("blocks.2.hook_mlp_out") == 16  # scaled before it is read and added: still the same sum
    inner = lm.blocks[0].forward
    lm.blocks[0].forward = lambda *a, **k: 1.1 * inner(*a, **k)
    with pytest.raises(SaebenchError, match="cannot be trusted"):
        lm.hook_width("blocks.0.hook_mlp_out")


def test_a_stream_in_a_list_is_read_and_one_of_another_shape_refused():
    assert model("gpt1").hook_width("blocks.1.hook_resid_post") == 16
    lm = model("xlnet")
    with pytest.raises(SaebenchError, match=r"gives a tensor of shape \[3, 2, 16\].*another kind of stream"):
        lm.hook_width("blocks.1.hook_resid_post")


@pytest.mark.parametrize("config", [hf.t5.T5Config, hf.bart.BartConfig])
def test_an_encoder_with_a_decoder_is_refused(config, tmp_path):
    small = {"vocab_size": 40, "d_model": 16, "num_layers": 1, "encoder_layers": 1, "decoder_layers": 1}
    made: Any = config(**small, d_kv=8, d_ff=16, num_heads=2)
    with pytest.raises(SaebenchError, match="has an encoder and a decoder"):
        _of(made)
    made.save_pretrained(tmp_path)
    words: Any = tokenizer()
    words.save_pretrained(tmp_path)
    with pytest.raises(SaebenchError, match="has an encoder and a decoder"):
        LanguageModel.load(str(tmp_path))


def test_the_encoder_alone_of_such_a_model_is_refused_by_what_it_is(tmp_path):
    made: Any = hf.t5.T5Config(vocab_size=40, d_model=16, num_layers=1, d_kv=8, d_ff=16, num_heads=2)
    hf.t5.T5EncoderModel(made).save_pretrained(tmp_path)
    words: Any = tokenizer()
    words.save_pretrained(tmp_path)
    with pytest.raises(SaebenchError, match="is the encoder alone of a model with an encoder and a decoder"):
        LanguageModel.load(str(tmp_path))


def _of(config: Any) -> LanguageModel:
    net: Any = nn.Module()
    net.config = config
    net.layers = nn.ModuleList([nn.Linear(16, 16)])
    return LanguageModel(net, tokenizer(), name="x")


def test_attention_code_from_elsewhere_is_not_fetched(tmp_path):
    config = hf.llama.LlamaConfig(**LLAMA_LIKE)
    config.save_pretrained(tmp_path)
    told = json.loads((tmp_path / "config.json").read_text()) | {"attn_implementation": "someone/kernel"}
    (tmp_path / "config.json").write_text(json.dumps(told))
    with pytest.raises(SaebenchError, match="attention code from elsewhere"):
        LanguageModel.load(str(tmp_path))


def test_positions_behind_the_padding_id_are_all_that_robertas_have():
    lm = model("roberta")  # 20 positions, padding id 1
    assert lm.context == 18
    ids = lm.tokenize([" ".join("abcdefghijklmnopqrstuvwxyz")], context=None, long_texts="cut_right")
    _, batch = next(iter(lm.batches(ids, max_tokens=99)))
    assert lm.collect(batch, ["blocks.2.hook_resid_post"])["blocks.2.hook_resid_post"].isfinite().all()


@pytest.mark.parametrize("said", [-1, 0, None, "many", float("nan"), float("inf"), [512], True])
def test_what_is_no_limit_says_nothing(said):
    config = SimpleNamespace(max_position_embeddings=said)
    assert context_of(config, SimpleNamespace(model_max_length=said), nn.Linear(1, 1)) == NO_LIMIT
    assert context_of(config, SimpleNamespace(model_max_length=7.0), nn.Linear(1, 1)) == 7


def test_a_pad_token_behind_the_embedding_is_filled_with_another_id():
    words: Any = tokenizer()
    words.add_special_tokens({"pad_token": "[PAD]"})
    words.add_tokens(["zebra"] + [f"w{i}" for i in range(20)])
    net = AutoModel.from_config(hf.gpt2.GPT2Config(vocab_size=29, n_embd=16, n_head=2, n_layer=2, n_positions=32))
    lm = LanguageModel(net, words, name="x")
    assert words.pad_token_id >= lm.rows
    assert batch_of(lm).ids.max() < lm.rows
    with pytest.raises(SaebenchError, match=r"token id \d+, for which its embedding of 29 rows has none"):
        lm.tokenize(["a w9"], context=None, long_texts="cut_right")
