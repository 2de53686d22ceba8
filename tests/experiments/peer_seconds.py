"""Our seconds on the inputs on which SAEBench's were recorded: the same model, SAEs and token ids.

    SAEBENCH_LITE_PARITY=folder OMP_NUM_THREADS=1 python -m tests.experiments.peer_seconds > results/bench/peers.md

The folder holds a small language model (lm/), SAEs (saes/) and the peer's inputs, as tests/test_parity.py reads it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from saebench_lite.api.context import EvalContext
from saebench_lite.api.subject import SAESubject
from saebench_lite.data.types import Corpus, Data, Labelled, LongTexts
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.tasks import absorption, ce_delta, reconstruction, sparse_probing
from tests.experiments.parity.rows import HOOK, SAES, load_sae

Range = tuple[float, float]
FIRST: dict[str, Range] = {"core": (16, 20), "sparse probing": (88, 99), "absorption": (108, 170)}
"CPU seconds of SAEBench 0.6.0 for its first SAE, recorded in an earlier run on a machine of the same kind (two cores)."
MODEL_SHARE = (0.23, 0.34)
"Of absorption: the language model's share in the same profile."
NEXT: dict[str, Range] = {
    "core": FIRST["core"],
    "sparse probing": (9.2, 12.8),
    "absorption": (FIRST["absorption"][0] * (1 - MODEL_SHARE[1]), FIRST["absorption"][1] * (1 - MODEL_SHARE[0])),
}
"One SAE more: core caches nothing; sparse probing on cached activations (wall seconds); absorption is an estimate."


class Replayed(LanguageModel):
    """A model whose texts "ids name row" stand for token ids given beforehand; other texts are tokenised."""

    rows: dict[str, list[int]]

    def tokenize(self, texts: Sequence[str], *, context: int | None, long_texts: LongTexts) -> list[list[int]]:
        if texts[0] in self.rows:
            return [self.rows[t] for t in texts]
        return super().tokenize(texts, context=context, long_texts=long_texts)


def replayed(root: Path) -> tuple[Replayed, Data, Data]:
    """The model, the data of core, and the data of sparse probing."""
    plain = LanguageModel.load(str(root / "lm"))
    lm = Replayed(plain.net, plain.tokenizer, name="lm")
    lm.rows = {}
    core = load_file(root / "core" / "inputs.safetensors")
    texts = {n: tuple(f"ids {n} {i}" for i in range(len(t))) for n, t in core.items()}
    for name, ids in core.items():
        lm.rows |= dict(zip(texts[name], ids.tolist(), strict=True))
    return lm, Data("core", texts=(Corpus("variance", texts["variance"]),)), _probing(root, lm)


def _probing(root: Path, lm: Replayed) -> Data:
    inputs = load_file(root / "sparse_probing" / "inputs.safetensors")
    found: dict[str, dict[str, list[tuple[str, str]]]] = {}
    for key, ids in inputs.items():
        dataset, part, label, kind = key.split("|")
        if kind != "input_ids":
            continue
        mask = inputs[f"{dataset}|{part}|{label}|attention_mask"].bool()
        for i, (row, kept) in enumerate(zip(ids, mask, strict=True)):
            text = f"ids {dataset} {part} {label} {i}"
            lm.rows[text] = row[kept].tolist()
            found.setdefault(dataset, {}).setdefault(label, []).append((text, part))
    datasets = []
    for dataset, classes in found.items():
        pairs = [(text, part, label) for label, rows in classes.items() for text, part in rows]
        corpus = Corpus(dataset, tuple(p[0] for p in pairs))
        parts, labels = np.array([p[1] for p in pairs]), np.array([p[2] for p in pairs])
        for label in classes:
            datasets.append(Labelled(f"{dataset} {label}", corpus, np.arange(len(pairs)), labels == label, parts))
    return Data("sparse probing", datasets=tuple(datasets))


def main() -> None:
    torch.set_num_threads(1)
    root = Path(os.environ["SAEBENCH_LITE_PARITY"])
    start = time.process_time()
    lm, core, probing = replayed(root)
    loading = time.process_time() - start
    probing_cfg = sparse_probing.Config(ks=(1, 2, 5), poolings=("mean",), dedupe=False, max_train=1500)
    work: dict[str, list[tuple[Any, Data, Any]]] = {
        "core": [
            (reconstruction.TASK, core, reconstruction.Config()),
            (ce_delta.TASK, core, ce_delta.Config(context=128)),
        ],
        "sparse probing": [(sparse_probing.TASK, probing, probing_cfg)],
        "absorption": [(absorption.TASK, core, absorption.Config(contexts="examples", min_share=0.5))],
    }
    saes = [load_sae(root / "saes" / name) for name in SAES]
    print("# Seconds beside SAEBench's\n")
    print(
        "`SAEBENCH_LITE_PARITY=folder OMP_NUM_THREADS=1 python -m tests.experiments.peer_seconds"
        " > results/bench/peers.md`\n"
    )
    print(
        "CPU seconds. Ours: one thread, measured by this command. SAEBench 0.6.0: recorded earlier with the peer's own"
    )
    print(
        "code on a machine of the same kind, two threads, model and SAEs loaded; it was not run again here. Same model,"
    )
    print("SAEs and token ids (absorption: same vocabulary, our prompts, one seed; `min_share` lowered to 0.5, for the")
    print(f"model's own probe falls short for six of 20 letters). Loading model and inputs, once: {loading:.1f} s.\n")
    print("SAEBench's next SAE: core as its first, for nothing is cached; sparse probing as recorded on its cached")
    print("activations (wall seconds); absorption an estimate, its first less the language model's share of 23-34 %.\n")
    print(
        "| eval | ours, shared set-up | ours, first SAE | ours, next SAE | SAEBench, first SAE | SAEBench, next SAE |"
    )
    print("|---|---|---|---|---|---|")
    total = [0.0, 0.0, 0.0]
    for name, tasks in work.items():
        spent = [0.0, 0.0, 0.0]
        for task, data, cfg in tasks:
            ctx = EvalContext(lm, HOOK, data)
            start = time.process_time()
            prepared = task.prepare(ctx, cfg, [42])
            spent[0] += time.process_time() - start
            for i, sae in enumerate(saes):
                start = time.process_time()
                task.evaluate(SAESubject(name="s", kind="sae", fingerprint="", sae=sae), ctx, prepared, cfg, [42])
                spent[i + 1] += time.process_time() - start
        print(row(name, spent, FIRST[name], NEXT[name]), flush=True)
        total = [a + b for a, b in zip(total, spent, strict=True)]
    first, following = both_ends(FIRST), both_ends(NEXT)
    total[0] += loading
    print(row("all three, with loading", total, first, following))
    print("\nFirst SAE: set-up included, and in the last line loading too; both sides without importing libraries.\n")
    ours = total[0] + total[1]
    print(f"- first SAE: SAEBench takes {first[0] / ours:.1f} to {first[1] / ours:.1f} times as long;")
    print(f"- one SAE more: {following[0] / total[2]:.0f} to {following[1] / total[2]:.0f} times as long.")


def row(name: str, spent: Sequence[float], first: Range, following: Range) -> str:
    """A line of the table; spent: set-up, first SAE, second SAE."""
    ours = (spent[0], spent[0] + spent[1], spent[2])
    theirs = (f"{low:.0f}-{high:.0f}" for low, high in (first, following))
    return f"| {name} | {' | '.join(f'{s:.1f}' for s in ours)} | {' | '.join(theirs)} |"


def both_ends(recorded: dict[str, Range]) -> Range:
    """Sums of the lower and of the upper ends."""
    return sum(low for low, _ in recorded.values()), sum(high for _, high in recorded.values())


if __name__ == "__main__":
    main()
