"""Pareto leaderboards: `python -m tests.experiments.pareto pico|small-world [--jobs N] [--saes FOLDER]`.

Four architectures at five sparsities from three training seeds, trained where they are missing in the folder of SAEs
(default: runs/architectures/NAME), scored, tabled and drawn in results/architectures/NAME. `--train-only` stops before
the scores. On pico SAEs learn from every second of the bundled texts and are scored on the others.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

import saebench_lite as sb
from saebench_lite.activations.store import collect
from saebench_lite.data.types import Corpus, Data
from saebench_lite.files import write_text
from saebench_lite.loading.open import load
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.names import PICO_HOOK
from saebench_lite.recipes.loop import train_sae
from saebench_lite.recipes.recipe import Architecture, SAERecipe
from saebench_lite.recipes.train_sae import save
from saebench_lite.report.leaderboard import leaderboard_text
from saebench_lite.sources.bundled import load as bundled
from saebench_lite.worlds.model import HOOK, WorldModel
from saebench_lite.worlds.spec import SMALL
from saebench_lite.worlds.world import World
from tests.conftest import ROOT

ARCHITECTURES: tuple[Architecture, ...] = ("relu", "topk", "jumprelu", "matryoshka")
SEEDS = (1, 2, 3)


class Site(NamedTuple):
    """Where SAEs are trained, and how."""

    l0s: tuple[int, ...]
    d_sae: int
    steps: int
    tasks: tuple[str, ...]
    y: tuple[str, ...]
    "Metrics that are drawn over L0."


FIDELITY_AND_TRUTH = ("explained_variance", "feature_ap")
SITES = {
    "pico": Site((4, 8, 16, 32, 64), 512, 800, ("reconstruction", "ce_delta"), ("explained_variance", "ce_delta")),
    "small-world": Site((3, 6, 9, 14, 22), 256, 800, ("reconstruction", "truth"), ("explained_variance", "feature_ap")),
}
BATCH = 256


def texts(part: int) -> Corpus:
    """Every second of the bundled texts, from `part` on."""
    every = dict.fromkeys(text for corpus in bundled("", None).texts for text in corpus.texts)
    return Corpus(f"half {part} of the bundled texts", tuple(every)[part::2])


def activations(site: str) -> tuple[Tensor, dict[str, object]]:
    """Shuffled rows to train on, and where they are from."""
    if site == "small-world":
        return World(SMALL).sample(200_000, "train")[0], {"model": "world:small", "hook": HOOK}
    lm = LanguageModel.load("pico")
    x = collect(lm, PICO_HOOK, texts(0))[0].x
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    return x[order], {"model": lm.name, "hook": PICO_HOOK, "token_rule": lm.positions(PICO_HOOK).code}


def train(site: str, folder: Path, recipes: dict[str, SAERecipe]) -> list[str]:
    """Trains SAEs by name on one thread; the names."""
    torch.set_num_threads(1)
    x, meta = activations(site)
    for name, recipe in recipes.items():
        save(train_sae(x, recipe, meta=meta), folder / name, "float16")
    return list(recipes)


def recipes(site: Site) -> dict[str, SAERecipe]:
    """By name of the SAE."""
    return {
        f"{a}_l0_{l0}_seed_{s}": SAERecipe(
            architecture=a, d_sae=site.d_sae, l0=l0, steps=site.steps, batch=BATCH, seed=s + 1000
        )
        for a in ARCHITECTURES
        for l0 in site.l0s
        for s in SEEDS
    }


def build(name: str, folder: Path, processes: int) -> None:
    """Trains what the folder lacks, in so many processes."""
    missing = [(n, r) for n, r in recipes(SITES[name]).items() if not (folder / n).is_dir()]
    shares = [dict(missing[i::processes]) for i in range(min(processes, len(missing)))]
    if processes == 1:
        for share in shares:
            train(name, folder, share)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for job in as_completed([pool.submit(train, name, folder, share) for share in shares]):
            print(f"{len(job.result())} SAEs trained", flush=True)


def score(name: str, folder: Path, out: Path) -> None:
    """Records, leaderboard and figures of a site."""
    site, saes = SITES[name], {n: load(str(folder / n)) for n in recipes(SITES[name])}
    common = {"tasks": list(site.tasks), "baselines": ["pca", "random_topk"], "out": out, "device": "cpu"}
    if name == "pico":
        data = Data("half of the bundled texts", texts=(texts(1),))
        records = sb.run(saes, model="pico", data=data, settings={"ce_delta": {"max_tokens": 8192}}, **common)
    else:
        model = WorldModel(World(SMALL), "small")
        data = Data("world:small", texts=(Corpus("samples", tuple(f"sample {i}" for i in range(8192))),))
        records = sb.run(saes, model=model, hook=HOOK, data=data, settings={"truth": {"samples": 16_384}}, **common)
    write_text(out / "leaderboard.md", leaderboard_text(records))
    for y in site.y:
        sb.plot(records, "pareto", y=y).savefig(out / f"{y}.svg")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Pareto leaderboards of architectures.")
    parser.add_argument("site", choices=SITES)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--saes", type=Path)
    parser.add_argument("--train-only", action="store_true")
    args = parser.parse_args()
    folder, started = args.saes or ROOT / "runs" / "architectures" / args.site, time.time()
    build(args.site, folder, args.jobs)
    print(f"trained in {time.time() - started:.0f} s", flush=True)
    if not args.train_only:
        score(args.site, folder, ROOT / "results" / "architectures" / args.site)


if __name__ == "__main__":
    main()
