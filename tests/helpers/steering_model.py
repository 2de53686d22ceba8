"""A tiny model whose predictions depend on planted directions: words of a topic read and write that of the topic."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.models.llama import LlamaConfig

from saebench_lite.api.context import EvalContext
from saebench_lite.data.types import Corpus, Data, Labelled
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.saes.affine import AffineSAE

D, TOPICS, WORDS = 64, 10, 5
HOOK = "blocks.0.hook_resid_post"
NAMES = [f"{topic}{word}" for topic in "abcdefghij" for word in "stuvw"]
NEUTRAL = [f"z{word}" for word in "abcdefghijklmnopqrst"]


def planted_model() -> LanguageModel:
    """Two blocks that add nothing: a token's embedding goes to the readout. Topic t is direction t of the stream."""
    vocabulary = {w: i for i, w in enumerate(["<s>", "<pad>", "<unk>", *NAMES, *NEUTRAL])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    special: dict[str, Any] = {"bos_token": "<s>", "eos_token": "<s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=D,
        intermediate_size=8,
        num_attention_heads=2,
        num_hidden_layers=2,
        max_position_embeddings=64,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=1,
        tie_word_embeddings=False,
    )
    net = LlamaForCausalLM(config)
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        layers: Any = net.model.layers
        for layer in layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        embedding, head = torch.randn(2, len(vocabulary), D, generator=g) * torch.tensor([0.3, 0.1])[:, None, None]
        embedding[:, :TOPICS] = 0.0
        for topic in range(TOPICS):
            rows = slice(3 + topic * WORDS, 3 + (topic + 1) * WORDS)
            embedding[rows, topic] += 2.0
            head[rows, topic] += 1.2
        embedding[:, TOPICS], head[:3, TOPICS] = 2.0, -8.0
        net.model.embed_tokens.weight.copy_(embedding)
        net.lm_head.weight.copy_(head)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=64, **special)
    return LanguageModel(net, tokenizer, name="planted")


def steering_context() -> EvalContext:
    """Texts of eight words, half of those of a topic's texts from the topic; as many texts without any topic."""
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.choice(NEUTRAL, 8)) for _ in range(90)]
    owner = [-1] * len(texts)
    for topic in range(TOPICS):
        for _ in range(24):
            words = np.where(
                draw.random(8) < 0.5, draw.choice(NAMES[topic * WORDS :][:WORDS], 8), draw.choice(NEUTRAL, 8)
            )
            texts.append(" ".join(words))
            owner.append(topic)
    corpus, owners = Corpus("topics", tuple(texts)), np.array(owner)
    kept = np.unique(texts, return_index=True)[1]
    data = [Labelled(f"topic {t}", corpus, kept, owners[kept] == t) for t in range(TOPICS)]
    return EvalContext(planted_model(), HOOK, Data("topics", datasets=tuple(data), texts=(corpus,)))


def dictionary(cosine: float, seed: int = 1) -> AffineSAE:
    """Encoder that reads the topics, decoder rows at a cosine from their directions."""
    true = torch.eye(D)[:TOPICS]
    noise = torch.randn(TOPICS, D, generator=torch.Generator().manual_seed(seed))
    noise = noise - noise.diagonal()[:, None] * true
    rows = cosine * true + (1 - cosine**2) ** 0.5 * noise / noise.norm(dim=1, keepdim=True)
    return AffineSAE(W_enc=true.T.contiguous(), W_dec=rows, b_enc=torch.full((TOPICS,), -1.0))
