"""Ways of writing a hook: one canonical name for each place, on every architecture, and what is near a wrong one."""

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.bloom import BloomConfig

from saebench_lite.errors import SaebenchError
from saebench_lite.models.hook_names import hooks_of
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.names import HookName, read_hook_name
from tests.helpers.tiny_models import CONFIGS, INSIDE, KINDS, batch_of, tokenizer

BLOCKS = {name: INSIDE.get(name, ("model.layers",))[0] for name in CONFIGS} | {"bert": "encoder.layer"}

WRITTEN = {
    "resid_post": [
        "blocks.1.hook_resid_post",
        "model.layers.1",
        "model.layers.1.output",
        "model.language_model.layers.1",
        "transformer.h.1",
        "gpt_neox.layers.1",
        "model.decoder.layers.1",
        "layers.1",
        "layer_1",
        "h.1",
        "resid_post_layer_1",
        "1.resid_post",
    ],
    "resid_pre": ["Blocks.1.hook_resid_pre", "model.layers.1.input", "1.hook_resid_pre", "layers.1.resid_pre"],
    "mlp_out": ["mlp_out_layer_1", "hook_mlp_out.1", "model.layers.1.mlp_out", "blocks.01.hook_mlp_out"],
    "attn_out": ["attn_out_1", "hook_attn_out.layers.1"],
}
"Hook point -> ways of writing it in block 1."


@pytest.mark.parametrize("name", CONFIGS)
def test_one_place_has_one_name_on_every_architecture(built, name):
    for kind, ways in WRITTEN.items():
        for written in ways:
            assert built(name).hook_name(written) == f"blocks.1.hook_{kind}", written
            assert built(name).hook_name(f" {written}") == f"blocks.1.hook_{kind}"


@pytest.mark.parametrize("name", CONFIGS)
def test_paths_of_modules_are_told_by_the_module(built, name):
    lm, path = built(name), f"{BLOCKS[name]}.2"
    assert lm.hook_name(path) == lm.hook_name(f"{path}.output" if name != "bert" else path)
    assert lm.hook_name(path) == "blocks.2.hook_resid_post"
    if name in INSIDE:
        _, attention, mlp = INSIDE[name]
        assert lm.hook_name(f"{path}.{attention}") == "blocks.2.hook_attn_out"
        assert lm.hook_name(f"{path}.{mlp}") == "blocks.2.hook_mlp_out"
    batch = batch_of(lm)
    for kind in KINDS:
        hook = f"blocks.2.hook_{kind}"
        for other in (f"{kind}_layer_2", f"2.{kind}"):
            assert torch.equal(lm.collect(batch, [hook])[hook], lm.collect(batch, [other])[other])


def test_a_module_inside_is_not_taken_for_what_is_added(built):
    assert built("gemma2").hook_name("model.layers.2.mlp") == "model.layers.2.mlp"  # its norm comes after
    assert built("gemma2").hook_name("model.layers.2.post_feedforward_layernorm") == "blocks.2.hook_mlp_out"
    assert built("llama").hook_name("layers.2.mlp") == built("llama").hook_name("model.layers.2.mlp.output")
    assert built("llama").hook_name("layers.2.mlp") == "blocks.2.hook_mlp_out"
    assert built("llama").hook_name("layers.2.mlp.gate_proj") == "model.layers.2.mlp.gate_proj"
    assert built("bert").hook_name("encoder.layer.2.output") == "encoder.layer.2.output"
    assert built("llama").hook_name("model.norm") == "model.norm"


def test_a_block_by_its_module_path_is_its_residual_stream():
    net = AutoModelForCausalLM.from_config(BloomConfig(vocab_size=40, hidden_size=16, n_layer=3, n_head=2))
    lm = LanguageModel(net, tokenizer(), name="bloom")
    assert lm.hook_name("transformer.h.1") == lm.hook_name("layers.1") == "blocks.1.hook_resid_post"


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ("blocks.1.hook_residpost", r"close: blocks\.1\.hook_resid_post, "),
        ("blocks.3.hook_resid_post", "the model has 3 blocks, 0 to 2"),
        ("model.layers.3", "the model has 3 blocks, 0 to 2"),
        ("model.layers.1.mlp.gateproj", r"close: model\.layers\.1\.mlp\.gate_proj"),
        ("blocks.1.ln1.hook_normalized", "does not exist in LlamaForCausalLM"),
        ("blocks.1.attn.hook_z", "does not exist in LlamaForCausalLM; close: "),
        ("mlp.gate_proj", "does not exist"),
        ("9", "close: blocks.0.hook_resid_pre"),
        ("", "close: blocks.0.hook_resid_pre"),
    ],
)
def test_a_wrong_hook_names_near_ones_and_the_command_that_lists_them(built, wrong, sentence):
    with pytest.raises(SaebenchError, match=sentence) as caught:
        built("llama").hook_name(wrong)
    assert str(caught.value).endswith("saebench-lite inspect --model MODEL lists its hooks")
    assert "\n" not in str(caught.value)


def test_the_hooks_that_there_are(built):
    lm = built("gpt_neox")
    hooks = hooks_of(lm.net, lm.blocks)
    assert (hooks.kinds, hooks.layers, hooks.blocks) == (KINDS, 3, "gpt_neox.layers")
    assert len(hooks.names) == 12
    assert all(lm.hook_name(name) == name for name in hooks.names)
    for path in hooks.modules:
        assert lm.hook_name(lm.hook_name(path)) == lm.hook_name(path)


def test_names_that_only_modules_can_tell():
    assert read_hook_name("blocks.7.hook_attn_out") == HookName("attn_out", 7)
    for name in ("world", "model.layers.3.mlp", "vision_tower.encoder.layers.3", "blocks.3.attn.hook_z", "5", ""):
        assert read_hook_name(name) is None
