"""Hooks of every named architecture, held to `output_hidden_states` and to plain patched forwards."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import AutoModel, AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers import models as hf

from saebench_lite.bundled import ROOT
from saebench_lite.errors import SaebenchError
from saebench_lite.models.hookpoints import by_token
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.models.tokens import TokenBatch

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
INSIDE = {  # where a reader of each architecture's code finds the blocks and what they add
    "gpt2": ("transformer.h", "attn", "mlp"),
    "gpt_neox": ("gpt_neox.layers", "attention", "mlp"),
    "gpt_neox_sequential": ("gpt_neox.layers", "attention", "mlp"),
    "gemma2": ("model.layers", "post_attention_layernorm", "post_feedforward_layernorm"),
    "gemma3": ("model.layers", "post_attention_layernorm", "post_feedforward_layernorm"),
    "opt": ("model.decoder.layers", "self_attn", "fc2"),
}
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


def patched_logits(lm: LanguageModel, name: str, kind: str, layer: int, batch: TokenBatch, value: torch.Tensor):
    """A whole forward with one activation overwritten, by module names and hooks of this test's own."""
    blocks, attention, mlp = INSIDE.get(name, ("model.layers", "self_attn", "mlp"))
    inside = {"attn_out": f".{attention}", "mlp_out": f".{mlp}"}.get(kind, "")
    module = lm.net.get_submodule(f"{blocks}.{layer}{inside}")

    def output(_, args, out):
        return (value, *out[1:]) if isinstance(out, tuple) else value.reshape(out.shape)

    if kind == "resid_pre":
        handle = module.register_forward_pre_hook(lambda _, args: (value, *args[1:]))
    else:
        handle = module.register_forward_hook(output)
    try:
        with torch.no_grad():
            return lm.net(batch.ids, attention_mask=batch.attention.long()).logits
    finally:
        handle.remove()


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
        if n < 2 or not lm.is_causal:  # after the last block causal models report the normed state
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
    full = patched_logits(lm, name, kind, layer, batch, other)
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
    block: Any = lm.blocks[1]
    got = lm.collect(batch_of(lm), [f"blocks.1.hook_{kind}" for kind in KINDS])
    pre, post, attention, mlp = (got[f"blocks.1.hook_{kind}"] for kind in KINDS)
    middle = block.attention.output.LayerNorm(pre + attention)
    torch.testing.assert_close(post, block.output.LayerNorm(middle + mlp))


def test_a_module_that_is_not_one_vector_per_token_is_refused(built):
    for name, hook in (("llama", "model"), ("llama", "model.rotary_emb"), ("bert", "pooler")):
        with pytest.raises(SaebenchError, match=f"'{hook}' gives a .*, not one vector per token"):
            built(name).hook_width(hook)


def test_activations_are_ordered_by_token():
    shape, x = torch.Size([2, 3]), torch.arange(24.0)
    torch.testing.assert_close(by_token(x.view(6, 4), shape, "h"), x.view(2, 3, 4))
    torch.testing.assert_close(by_token(x.view(2, 3, 2, 2), shape, "h"), x.view(2, 3, 4))
    for wrong in (x.view(2, 4, 3), x.view(2, 12), x.view(3, 2, 4)):
        with pytest.raises(SaebenchError, match="not one vector per token"):
            by_token(wrong, shape, "h")


def test_module_paths_can_be_replaced_too(built):
    lm, hook = built("llama"), "model.layers.1.mlp"
    batch = batch_of(lm)
    prefix = lm.prefix(batch, hook)
    other = prefix.acts.flip(-1)
    torch.testing.assert_close(
        lm.logits_with(batch, prefix, other, hook), patched_logits(lm, "llama", "mlp_out", 1, batch, other)
    )


def test_skipped_blocks_get_their_own_forward_back(built):
    lm = LanguageModel(copy.deepcopy(built("llama").net), tokenizer(), name="x")
    batch, own = batch_of(lm), lm.blocks[0].forward
    patched = lambda *args, **kwargs: own(*args, **kwargs)  # noqa: E731
    lm.blocks[0].forward = patched
    lm.logits_from_final(batch, lm.final(batch))
    assert lm.blocks[0].forward is patched
    assert "forward" not in lm.blocks[1].__dict__
    with pytest.raises(RuntimeError):
        lm.logits_from_final(batch, torch.zeros(2, 7, 5))
    assert lm.blocks[0].forward is patched
    assert "forward" not in lm.blocks[2].__dict__


@pytest.mark.parametrize("name", ["mistral", "gemma2", "gemma3"])
def test_resuming_under_a_sliding_window(name):
    config = type(CONFIGS[name]())(**(LLAMA_LIKE | {"sliding_window": 4}))
    lm = LanguageModel(AutoModelForCausalLM.from_config(config), tokenizer(), name=name)
    batch, hook = batch_of(lm, ["a b c d e f g h i j", "k l"]), "blocks.1.hook_mlp_out"
    prefix = lm.prefix(batch, hook)
    got, plain = lm.logits_with(batch, prefix, prefix.acts, hook), lm.logits(batch)
    torch.testing.assert_close(got[batch.attention], plain[batch.attention], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", CAUSAL)
def test_a_model_without_its_head_has_the_same_stream(built, name):
    lm, hooks = built(name), [f"blocks.2.hook_{kind}" for kind in KINDS]
    bare = LanguageModel(lm.net.base_model, tokenizer(), name=name)
    torch.testing.assert_close(bare.collect(batch_of(lm), hooks), lm.collect(batch_of(lm), hooks))
    with pytest.raises(SaebenchError, match="no next-token head"):
        bare.logits(batch_of(lm))


def test_an_encoder_decoder_predicts_no_next_token():
    config = hf.t5.T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=16, num_layers=2, num_heads=2)
    assert not LanguageModel(hf.t5.T5ForConditionalGeneration(config), tokenizer(), name="t5").is_causal


def test_text_blocks_of_a_multimodal_model(tmp_path):
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 6}
    config = hf.gemma3.Gemma3Config(
        text_config=LLAMA_LIKE, vision_config=vision | {"image_size": 28, "patch_size": 14}, mm_tokens_per_image=4
    )
    net = hf.gemma3.Gemma3ForConditionalGeneration(config)
    net.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    lm = LanguageModel.load(str(tmp_path))
    assert (lm.n_layers, lm.width, lm.is_causal) == (3, 16, True)
    assert LanguageModel(net.model, tokenizer(), name="x").n_layers == 3  # the vision tower has more


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
