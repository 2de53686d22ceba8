"""Tiny random models of each architecture and a word tokenizer."""

from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast
from transformers import models as hf

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
