"""Recipe of "pico", the bundled reference model: a small Llama-style causal language model.

    saebench-lite data pull sae-probes
    python -m saebench_lite.recipes.pico --out runs/pico

Real text (the prompts of all sae-probes datasets: news, reviews, biographies, science, code) is mixed with lines that
spell out the first letter of vocabulary words, so that the first-letter absorption task has something to find
(Chanin et al., arXiv:2409.14507, use models that spell). The tokenizer is a byte-level BPE trained on the same texts.
Writes a Hugging Face folder (float16 weights) and `training.json` with every figure quoted about the model.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from saebench_lite.errors import SaebenchError, as_sentence
from saebench_lite.files import check_place
from saebench_lite.models.tokens import vocabulary_words
from saebench_lite.recipes.corpus import read_corpus

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BOS, PAD = "<|endoftext|>", "<|pad|>"
NO_ROWS = torch.empty(0, 0, dtype=torch.long)
SPELLING = "{word} has the first letter: {letter}"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Choices that determine the model; all of them are written into training.json."""

    vocab_size: int = 4096
    width: int = 128
    layers: int = 5
    heads: int = 4
    mlp_width: int = 384
    context: int = 256
    batch: int = 32
    steps: int = 3000
    lr: float = 3e-3
    warmup: int = 150
    weight_decay: float = 0.1
    spelling_share: float = 0.15
    "Share of training rows made of spelling lines."
    chars_per_dataset: int = 3_000_000
    "Cap on what one dataset contributes, so that long articles do not crowd out the rest."
    held_out: float = 0.01
    seed: int = 0


def train_tokenizer(documents: list[str], recipe: Recipe) -> PreTrainedTokenizerBase:
    """A byte-level BPE tokenizer that puts one BOS in front of every text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=recipe.vocab_size,
        special_tokens=[BOS, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", special_tokens=[(BOS, tokenizer.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=BOS,
        pad_token=PAD,
        model_max_length=recipe.context,
    )


def spelling_row(words: list[str], rng: random.Random, lines: int) -> str:
    """`lines` spelling lines over random words, each starting on its own line."""
    chosen = [rng.choice(words) for _ in range(lines)]
    return "".join("\n" + SPELLING.format(word=w, letter=w.strip()[0].upper()) for w in chosen)


def pack(tokenizer: PreTrainedTokenizerBase, documents: list[str], length: int) -> Tensor:
    """Documents, each behind a BOS, concatenated and cut into rows [n, length] of token ids."""
    stream: list[int] = []
    for start in range(0, len(documents), 4096):
        for ids in tokenizer(documents[start : start + 4096])["input_ids"]:
            stream.extend(ids)
    rows = len(stream) // length
    return torch.from_numpy(np.array(stream[: rows * length], dtype=np.int64).reshape(rows, length))


def build_model(recipe: Recipe, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """A freshly initialised model of the recipe's shape."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(recipe.seed)
    ids: Any = tokenizer  # typed as if an id could be a list
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=recipe.vocab_size,
            hidden_size=recipe.width,
            intermediate_size=recipe.mlp_width,
            num_hidden_layers=recipe.layers,
            num_attention_heads=recipe.heads,
            num_key_value_heads=recipe.heads,
            max_position_embeddings=recipe.context,
            tie_word_embeddings=True,
            bos_token_id=ids.bos_token_id,
            eos_token_id=ids.eos_token_id,
            pad_token_id=ids.pad_token_id,
        )
    )


def learning_rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then cosine to 5 % of the peak."""
    if step < recipe.warmup:
        return recipe.lr * (step + 1) / recipe.warmup
    progress = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
    return recipe.lr * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))


def next_token_loss(model: nn.Module, rows: Tensor, device: str) -> Tensor:
    """Mean cross-entropy of each next token, in nats."""
    with torch.autocast(device, dtype=torch.bfloat16):
        logits = model(rows).logits
    return torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), rows[:, 1:].flatten())


@torch.no_grad()
def held_out_loss(model: nn.Module, rows: Tensor, device: str, batch: int = 64) -> float:
    """Mean cross-entropy on held-out rows, float32, in nats per token.

    Args:
        model: a causal language model.
        rows: token ids. [n, length]
        device: where it runs.
        batch: rows at once.
    """
    model.eval()
    total = 0.0
    for part in rows.split(batch):
        part = part.to(device)
        logits = model(part).logits[:, :-1].flatten(0, 1)
        total += torch.nn.functional.cross_entropy(logits, part[:, 1:].flatten(), reduction="sum").item()
    model.train()
    return total / (rows.shape[0] * (rows.shape[1] - 1))


@torch.no_grad()
def first_letter_accuracy(
    model: nn.Module, tokenizer: PreTrainedTokenizerBase, words: list[str], device: str, shots: int = 5, n: int = 1000
) -> float:
    """Share of words whose capital first letter is the model's top token after `shots` worked examples.

    Args:
        model: a causal language model.
        tokenizer: its tokenizer.
        words: to ask about.
        device: where it runs.
        shots: worked examples before the question.
        n: words asked about, at most.
    """
    rng = random.Random(1)
    right = 0
    for word in rng.sample(words, min(n, len(words))):
        prompt = spelling_row(words, rng, shots) + "\n" + SPELLING.format(word=word, letter="").rstrip()
        ids = torch.tensor([tokenizer(prompt)["input_ids"]], device=device)
        guess = str(tokenizer.decode([int(model(ids).logits[0, -1].argmax())])).strip()
        right += guess == word.strip()[0].upper()
    return right / min(n, len(words))


def fit(model: nn.Module, rows: Tensor, spelling_rows: Tensor, recipe: Recipe, started: float) -> None:
    """Takes the recipe's steps of AdamW, on the model's device.

    Args:
        model: what is trained, in place.
        rows: token ids of real text. [n, context]
        spelling_rows: token ids of spelling lines. [m, context]
        recipe: batch, steps and optimiser.
        started: when the whole training began, for what is printed.
    """
    device = next(model.parameters()).device
    decay = [p for p in model.parameters() if p.ndim == 2]
    plain = [p for p in model.parameters() if p.ndim != 2]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        betas=(0.9, 0.95),
    )
    generator = torch.Generator().manual_seed(recipe.seed)
    n_spelling = round(recipe.batch * recipe.spelling_share)
    for step in range(recipe.steps):
        text = rows[torch.randint(len(rows), (recipe.batch - n_spelling,), generator=generator)]
        spell = spelling_rows[torch.randint(len(spelling_rows), (n_spelling,), generator=generator)]
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, recipe)
        loss = next_token_loss(model, torch.cat([text, spell]).to(device), device.type)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step} loss {loss.item():.3f} {time.time() - started:.0f} s", flush=True)


def train(corpus: Path, out: Path, recipe: Recipe, device: str) -> dict[str, object]:
    """Trains pico on `corpus` and writes it to `out`; returns what training.json holds.

    Args:
        corpus: folder of CSV files with a column `prompt`.
        out: folder of the model.
        recipe: size, data and optimiser.
        device: where it is trained.
    """
    started = time.time()
    check_place("out", out)
    documents, held_out = read_corpus(
        corpus, seed=recipe.seed, chars=recipe.chars_per_dataset, held_out=recipe.held_out
    )
    tokenizer = train_tokenizer(documents, recipe)
    words = vocabulary_words(tokenizer)
    rows, held_rows = (pack(tokenizer, d, recipe.context) if d else NO_ROWS for d in (documents, held_out))
    if not (words and len(rows) and len(held_rows)):
        raise SaebenchError(
            f"{corpus} is too small: {len(documents)} documents make {len(rows)} rows of {recipe.context} tokens,"
            f" {len(held_rows)} held out; give more texts"
        )
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save_pretrained(out)
    rng = random.Random(recipe.seed)
    spelling_rows = pack(tokenizer, [spelling_row(words, rng, 24) for _ in range(40_000)], recipe.context)
    print(f"{len(documents)} documents, {rows.numel()} tokens, {len(words)} words, {time.time() - started:.0f} s")

    model: Any = build_model(recipe, tokenizer)
    model = model.to(device)
    fit(model, rows, spelling_rows, recipe, started)

    model.half()  # what is shipped is what is measured
    model.save_pretrained(out)
    model.float().eval()
    figures: dict[str, object] = {
        "recipe": asdict(recipe),
        "parameters": sum(p.numel() for p in model.parameters()),
        "training_tokens": recipe.steps * recipe.batch * recipe.context,
        "held_out_loss": held_out_loss(model, held_rows, device),
        "held_out_tokens": held_rows.numel(),
        "uniform_loss": math.log(recipe.vocab_size),
        "first_letter_accuracy": first_letter_accuracy(model, tokenizer, words, device),
        "words": len(words),
        "device": device,
        "seconds": round(time.time() - started),
        "torch": torch.__version__,
    }
    (out / "training.json").write_text(json.dumps(figures, indent=1) + "\n")
    return figures


def main() -> None:
    """Reads the command line and trains."""
    parser = argparse.ArgumentParser(description="Train the bundled reference model.")
    parser.add_argument("--corpus", type=Path, help="folder of sae-probes cleaned_data; default: the pulled one")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=Recipe.steps)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    corpus = args.corpus
    if corpus is None:
        from saebench_lite.sources.sae_probes import cleaned_data

        corpus = cleaned_data()
    print(json.dumps(train(corpus, args.out, Recipe(steps=args.steps), args.device), indent=1))


if __name__ == "__main__":
    with as_sentence():
        main()
