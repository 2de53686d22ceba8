"""Trains SAEs on a model's activations over the sae-probes texts, one native folder each.

    saebench-lite data pull sae-probes
    python -m saebench_lite.recipes.train_sae --model pico --hook blocks.2.hook_resid_post --out runs/saes

A small share of first-letter spelling lines is mixed in, as in the model's own training. Writes `training.json` with
the command and the figures of every SAE beside the folders.
"""

from __future__ import annotations

import argparse
import json
import random
import shlex
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from saebench_lite.activations.store import collect
from saebench_lite.data.types import Corpus
from saebench_lite.errors import SaebenchError, as_sentence
from saebench_lite.files import check_place
from saebench_lite.loaders import matching_pursuit, native, top_afa
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.models.token_rule import TokenRule
from saebench_lite.models.tokens import vocabulary_words
from saebench_lite.recipes.corpus import read_corpus
from saebench_lite.recipes.loop import train_sae
from saebench_lite.recipes.pico import Recipe, spelling_row
from saebench_lite.recipes.recipe import Frozen, SAERecipe
from saebench_lite.recipes.trainer import TrainedSAE
from saebench_lite.saes.matching_pursuit import MatchingPursuitSAE
from saebench_lite.saes.top_afa import TopAFASAE
from saebench_lite.sources.sae_probes import cleaned_data

MOST_DOCUMENTS = 1000
"Read at a time; after them it is seen whether there are tokens enough."


def training_acts(lm: LanguageModel, hook: str, tokens: int, spelling: float, seed: int = 0) -> Tensor:
    """Shuffled activations [about tokens, d] of real tokens.

    Args:
        lm: the model.
        hook: where its activations are read.
        tokens: about how many.
        spelling: spelling lines a document.
        seed: of the shuffle.
    """
    documents, _ = read_corpus(cleaned_data(), seed=seed, chars=Recipe.chars_per_dataset, held_out=Recipe.held_out)
    rng = random.Random(seed)
    rng.shuffle(documents)
    words = vocabulary_words(lm.tokenizer)
    texts, total = [], 0
    size = min(MOST_DOCUMENTS, 1 + tokens // 400)  # few where few tokens are asked for
    while total < tokens and documents:
        batch = [documents.pop() for _ in range(min(size, len(documents)))]
        batch += [spelling_row(words, rng, 6) for _ in range(round(size * spelling))]
        ids = lm.tokenize(batch, context=lm.context, long_texts="cut_right")
        keep = [(t, n) for t, n in zip(batch, lm.real_lengths(ids), strict=True) if n]
        texts += [t for t, _ in keep]
        total += sum(n for _, n in keep)
    if not texts:
        raise SaebenchError(f"the texts hold no token to train on, of {tokens} asked for; give more --tokens")
    acts, _ = collect(lm, hook, Corpus("training", tuple(dict.fromkeys(texts))))
    return acts.x[torch.randperm(acts.tokens, generator=torch.Generator().manual_seed(seed))]


def command(args: argparse.Namespace) -> str:
    """The command line that repeats a run; where it writes and on which device are left to the reader."""
    options = {name: value for name, value in sorted(vars(args).items()) if name not in ("out", "device")}
    written = " ".join(
        f"--{name.replace('_', '-')}" + ("" if value is True else f" {shlex.quote(str(value))}")
        for name, value in options.items()
        if value is not False
    )
    return f"python -m saebench_lite.recipes.train_sae {written} --out runs/saes"


def save(sae: TrainedSAE, folder: Path, dtype: Literal["float16", "float32"] = "float32") -> None:
    """Writes an SAE in the format of its kind."""
    if isinstance(sae, MatchingPursuitSAE):
        matching_pursuit.save(sae, folder, dtype)
    elif isinstance(sae, TopAFASAE):
        top_afa.save(sae, folder, dtype)
    else:
        native.save(sae, folder, dtype)


def main() -> None:
    """Reads the command line and trains."""
    parser = argparse.ArgumentParser(description="Train sparse autoencoders for a model.")
    parser.add_argument("--model", default="pico")
    parser.add_argument("--hook", default="blocks.2.hook_resid_post")
    parser.add_argument("--architectures", default="relu,topk,batchtopk,jumprelu")
    parser.add_argument("--l0", default="8,16,32")
    parser.add_argument("--d-sae", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=SAERecipe.steps)
    parser.add_argument("--lr", type=float, default=SAERecipe.lr)
    parser.add_argument("--frozen", default="none", choices=get_args(Frozen), help="the part left at random")
    parser.add_argument("--tokens", type=int, default=3_000_000)
    parser.add_argument("--spelling", type=float, default=0.05, help="spelling lines per document")
    parser.add_argument("--dtype", default="float16", choices=["float16", "float32"], help="what matrices are saved in")
    parser.add_argument("--bf16", action="store_true", help="model and matrix products in bfloat16")
    parser.add_argument("--bos", default="auto", help="in front of each text: auto, prepend, as-is, none, or a token")
    parser.add_argument("--leave-out", default="sinks", help="beside special tokens: sinks[:10], first, special")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    check_place("out", args.out)
    rule = TokenRule(bos=args.bos, leave_out=args.leave_out)
    lm = LanguageModel.load(args.model, device=args.device, rule=rule, dtype="bfloat16" if args.bf16 else "float32")
    print(lm.positions(args.hook).finding or f"{lm.name}, {args.hook}: no attention sinks", flush=True)
    acts = training_acts(lm, args.hook, args.tokens, args.spelling)
    print(f"{len(acts)} activations of width {acts.shape[1]}", flush=True)
    figures = {}
    for architecture in args.architectures.split(","):
        for l0 in (int(k) for k in args.l0.split(",")):
            shape = {"architecture": architecture, "d_sae": args.d_sae, "l0": l0, "frozen": args.frozen}
            recipe = SAERecipe(**shape, steps=args.steps, lr=args.lr, bf16=args.bf16)
            meta = {"model": lm.name, "hook": args.hook, "token_rule": lm.positions(args.hook).code}
            meta["training_tokens"] = len(acts)
            sae = train_sae(acts, recipe, device=args.device, meta=meta)
            name = f"{architecture}_{args.d_sae}_l0_{l0}" + ("" if args.frozen == "none" else f"_frozen_{args.frozen}")
            save(sae, args.out / name, args.dtype)
            figures[name] = {**sae.meta["held_out"], "seconds": sae.meta["seconds"]}
            print(name, json.dumps(figures[name]), flush=True)
            report = {"command": command(args), "saes": figures}
            (args.out / "training.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    with as_sentence():
        main()
