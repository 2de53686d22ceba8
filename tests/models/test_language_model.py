"""Hooks of every named architecture, held to `output_hidden_states` and to plain patched forwards."""

import copy
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers import models as hf

from saebench_lite.errors import SaebenchError
from saebench_lite.models.hookpoints import by_token
from saebench_lite.models.language_model import LanguageModel
from tests.helpers.tiny_models import (
    CAUSAL,
    CONFIGS,
    KINDS,
    LLAMA_LIKE,
    batch_of,
    patched_logits,
    tokenizer,
)


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
    final = lm.collect(batch, [lm.last_hook])[lm.last_hook]
    torch.testing.assert_close(lm.logits_from_final(batch, final), lm.logits(batch), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CAUSAL)
def test_prefix_and_final_in_one_forward(built, name, kind):
    """The same bits as in two, at every kind of hook and at the last hook of all."""
    lm = built(name)
    batch = batch_of(lm)
    for hook in (f"blocks.1.hook_{kind}", lm.last_hook):
        both, final = lm.prefix_and_final(batch, hook)
        prefix = lm.prefix(batch, hook)
        assert torch.equal(both.acts, prefix.acts)
        assert torch.equal(final, lm.collect(batch, [lm.last_hook])[lm.last_hook])
        assert (both.block_input is None) == (prefix.block_input is None)
        if prefix.block_input is not None:
            assert torch.equal(both.block_input, prefix.block_input)


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
    lm.logits_from_final(batch, lm.collect(batch, [lm.last_hook])[lm.last_hook])
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
