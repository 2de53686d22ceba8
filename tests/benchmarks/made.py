"""A random-weights model of GPT-2 small's width, texts, SAEs with a set number of active latents, all in memory."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from saebench_lite.activations.acts import Acts
from saebench_lite.api.context import EvalContext
from saebench_lite.data.types import Corpus, Data, Labelled, Parents
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.saes.affine import AffineSAE

WIDTH, LAYERS, HOOK = 768, 3, "blocks.1.hook_resid_post"
L0 = 32
G = torch.Generator().manual_seed(0)


def wide_model() -> LanguageModel:
    """A GPT-NeoX of three layers and width 768 with fresh weights, and the bundled model's tokenizer."""
    import transformers as hf

    tokenizer = LanguageModel.load("pico").tokenizer
    config = hf.GPTNeoXConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=12,
        intermediate_size=4 * WIDTH,
        max_position_embeddings=256,
    )
    torch.manual_seed(0)
    return LanguageModel(hf.GPTNeoXForCausalLM(config), tokenizer, name="random weights")


def made_data(lm: LanguageModel, texts: int, words: int, per_text: int = 32) -> Data:
    """Texts of `per_text` random words, ten concepts (is a word there?), 20 parents told at the last of eight words."""
    known = sorted(w[1:] for w in lm.tokenizer.get_vocab() if w.startswith("Ġ") and w[1:].isascii() and w[1:].isalpha())
    draw = np.random.default_rng(0)
    there = draw.random((10, texts)) < 0.5
    rows = draw.integers(10, len(known), (texts, per_text))
    for j in range(10):
        rows[there[j], draw.integers(0, per_text)] = j
    corpus = Corpus("random words", tuple(" " + " ".join(known[i] for i in row) for row in rows))
    labelled = tuple(Labelled(f"{known[j]}", corpus, np.arange(texts), (rows == j).any(1)) for j in range(10))
    last = draw.integers(0, 100, words)
    before = draw.integers(0, len(known), (words, 7))
    ends = Corpus(
        "last words", tuple(" " + " ".join(known[i] for i in (*b, w)) for b, w in zip(before, last, strict=True))
    )
    member = last[None] % 20 == np.arange(20)[:, None]
    parents = Parents("remainders", ends, tuple(f"parent {i}" for i in range(20)), member)
    return Data("random", datasets=labelled, concepts=labelled, texts=(corpus,), parents=(parents,))


def directions(m: int, d: int) -> torch.Tensor:
    """m random unit vectors [m, d]."""
    return torch.nn.functional.normalize(torch.randn(m, d, generator=G))


def random_sae(m: int, activation: str = "topk", d: int = 64, x: torch.Tensor | None = None) -> AffineSAE:
    """Random unit directions; thresholds such that about L0 latents fire on rows like x [n, d] (normal by default)."""
    w = directions(m, d)
    extra: dict[str, Any] = {"k": L0}
    if activation != "topk":
        x = torch.randn(256, d, generator=G) if x is None else x.float()
        level = (x @ w.T).flatten().topk(len(x) * L0).values[-1].item()
        extra = (
            {"threshold": torch.full((m,), level)} if activation == "jumprelu" else {"b_enc": torch.full((m,), -level)}
        )
    return AffineSAE(W_enc=w.T, W_dec=w, activation=activation, **extra)  # type: ignore[arg-type]


def given_bench(texts: int, tokens: int = 8, d: int = 64, memory: int = 1 << 30) -> EvalContext:
    """Normal random activations of texts in place of a model's, ten labelled datasets on them."""
    offsets = torch.arange(0, texts * tokens + 1, tokens)
    acts = Acts(torch.randn(texts * tokens, d, generator=G), offsets)
    corpus = Corpus("random", tuple(f"text {i}" for i in range(texts)))
    mean = acts.x.view(texts, tokens, d).mean(1)
    labelled = tuple(Labelled(f"{j}", corpus, np.arange(texts), (mean[:, j] > 0).numpy()) for j in range(10))
    data = Data("random", datasets=labelled, concepts=labelled, texts=(corpus,))
    lm: Any = SimpleNamespace(hook_width=lambda hook: d, device="cpu")
    ctx = EvalContext(lm, "given", data, memory=memory)
    ctx._acts[corpus.fingerprint, "all"] = acts, []
    return ctx
