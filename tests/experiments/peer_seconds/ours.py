"""This package's side: the public `run` on the same two SAEs, in a process of its own.

`python -m tests.experiments.peer_seconds.ours EVAL PROTOCOL FOLDER`; PROTOCOL is a key of PROTOCOLS.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch

import saebench_lite
from saebench_lite.data.types import Corpus, Data, LongTexts
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.records.record import Record
from saebench_lite.runs.runner import run
from tests.experiments.parity.rows import HOOK, load_sae
from tests.experiments.peer_seconds.clock import Measured, Spent
from tests.experiments.peer_seconds.inputs import CONTEXT, HUB, SNAPSHOT, probing_data

Settings = dict[str, dict[str, Any]]
LETTERS = 5 / 26
"`min_share`: SAEBench is told to score from five letters on, as the model, small as it is, knows few."
ALL_TOKENS = 100_000
"More than there are, so that none of the rows that SAEBench reads is left out."
PROTOCOLS: dict[str, tuple[str | None, Settings]] = {
    "own": (
        None,
        {
            "ce_delta": {"context": CONTEXT, "max_tokens": ALL_TOKENS},
            "sparse_probing": {
                "ks": (1, 2, 5),
                "poolings": ("mean",),
                "detector_poolings": ("mean",),
                "dedupe": False,
            },
            "absorption": {"contexts": "examples", "min_share": LETTERS},
        },
    ),
    "saebench-0.6": ("saebench-0.6", {"ce_delta": {"max_tokens": ALL_TOKENS}, "absorption": {"min_share": LETTERS}}),
}
"(profile, settings): our own definitions held to SAEBench's amount of work; SAEBench's definitions."
PACKAGES = ("torch", "transformers", "numpy", "scikit-learn")


class Replayed(LanguageModel):
    """A model for which texts called "row i" stand for token ids given beforehand; others are tokenised."""

    replayed: dict[str, list[int]]

    def tokenize(self, texts: Sequence[str], *, context: int | None, long_texts: LongTexts) -> list[list[int]]:
        if texts[0] in self.replayed:
            return [self.replayed[t] for t in texts]
        return super().tokenize(texts, context=context, long_texts=long_texts)


class Marks:
    """Notes the moment at which each evaluation has ended."""

    def __init__(self) -> None:
        self.ended: list[Spent] = []

    def update(self, stage: str, done: int, total: int) -> None:
        if stage == "evaluations":
            self.ended.append(Spent.now())


class Part(NamedTuple):
    """One call of `run`."""

    task: str
    data: Data


def parts(name: str, folder: Path, lm: Replayed) -> list[Part]:
    """The calls of an evaluation; core is two of our tasks, each on the rows on which SAEBench has its figures."""
    if name == "sparse_probing":
        return [Part(name, probing_data(json.loads((folder / "probing.json").read_text())))]
    rows = [json.loads(line)["tokens"] for line in (folder / "core" / "train.jsonl").read_text().splitlines()]
    names = [f"row {i}" for i in range(len(rows))]
    lm.replayed = dict(zip(names, rows, strict=True))
    loss_rows = len(rows) // 3
    variance = Data("variance", texts=(Corpus("variance", tuple(names[loss_rows:])),))
    if name == "absorption":
        return [Part(name, variance)]
    recons = Data("recons", texts=(Corpus("recons", tuple(names[:loss_rows])),))
    return [Part("reconstruction", variance), Part("ce_delta", recons)]


def scored(part: Part, protocol: str, lm: Replayed, saes: dict[str, Any], out: Path) -> tuple[Spent, list[Record]]:
    """The moment at which the first SAE was done, and the records of both."""
    profile, settings = PROTOCOLS[protocol]
    marks = Marks()
    records = run(
        saes,
        model=lm,
        hook=HOOK,
        data=part.data,
        tasks=part.task,
        baselines=[],
        seeds=1,
        settings={t: s for t, s in settings.items() if t == part.task},
        profile=profile,
        out=out / "records",
        cache=out / "cache",
        progress=marks,
    )
    if [r.status for r in records] != ["ok"] * len(saes):
        raise SystemExit(f"{part.task}: {[(r.status, r.reason) for r in records]}")
    return marks.ended[0], records


def measure(name: str, protocol: str, folder: Path) -> Measured:
    """One evaluation of two SAEs."""
    start = Spent.now()
    plain = LanguageModel.load(str(folder / "home" / HUB / "snapshots" / SNAPSHOT))
    lm = Replayed(plain.net, plain.tokenizer, name="lm")
    lm.replayed = {}
    saes = {p.name: load_sae(p) for p in sorted((folder / "saes").iterdir(), reverse=True)}
    todo = parts(name, folder, lm)
    first, further = Spent.now().since(start), Spent(0.0, 0.0)
    figures: dict[str, float] = {}
    for part in todo:
        began = Spent.now()
        between, records = scored(part, protocol, lm, saes, folder / f"ours-{protocol}-{name}")
        first = first.plus(between.since(began))
        further = further.plus(Spent.now().since(between))
        figures |= {metric: score.value for metric, score in records[0].scores.items()}
    versions = {"saebench-lite": saebench_lite.__version__} | {p: version(p) for p in PACKAGES}
    return Measured(importing=start, first=first, further=further, versions=versions, figures=figures)


def main(name: str, protocol: str, where: str) -> None:
    """Measures and writes."""
    torch.set_num_threads(1)
    folder = Path(where)
    measure(name, protocol, folder).save(folder / f"ours-{protocol}-{name}.json")


if __name__ == "__main__":
    main(*sys.argv[1:])
