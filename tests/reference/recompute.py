"""The five tasks by the suite and by `tests.reference.independent`, side by side.

`python -m tests.reference.recompute --model FOLDER --sae FOLDER --hook blocks.N.hook_resid_post` prints the largest
difference of each task; with `--out FILE.md` every figure is written there.
"""

from __future__ import annotations

import argparse
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from saebench_lite.data.types import Corpus, Data, Labelled
from saebench_lite.files import write_text
from saebench_lite.records.record import Record
from saebench_lite.runs.runner import run
from tests.reference.independent import letters
from tests.reference.independent.fidelity import ce_delta, reconstruction
from tests.reference.independent.network import Dictionary, Network
from tests.reference.independent.recovery import Found, concept_detection, sparse_probing

CONCEPTS = Path(__file__).resolve().parents[2] / "saebench_lite" / "bundled" / "concepts"
SEED = 42
ABSORBED = ("absorption_fraction", "full_absorption")
"Metrics of words on which the SAE carries the letter: a letter weighs as the share of them."
TASKS = ("reconstruction", "ce_delta", "sparse_probing", "concept_detection", "absorption")
OF_LATENTS = {"size_multiple", "shrunken_fraction", "norm_detector_fraction", "duplicate_fraction"}
"Metrics of reconstruction on single latents, which tests/metrics holds to references of their own."


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is computed."""

    concepts: int = 3
    texts: int = 40
    "Of each concept, half of them for training."
    ce_tokens: int = 600
    words: int = 700
    examples: int = 2
    "In front of a word."
    ks: tuple[int, ...] = (1, 5)


@dataclass(frozen=True)
class Compared:
    """One figure by the two ways."""

    task: str
    metric: str
    suite: float
    reference: float

    @property
    def difference(self) -> float:
        return abs(self.suite - self.reference)


@dataclass(frozen=True)
class Comparison:
    """All figures, and the latents that the two ways picked."""

    figures: list[Compared]
    picked: dict[str, tuple[int, int]]
    "What for -> latent of the suite, of the reference."

    def largest(self, task: str) -> Compared:
        """The figure of a task that differs most."""
        return max((c for c in self.figures if c.task == task), key=lambda c: c.difference)

    @property
    def other_latents(self) -> dict[str, tuple[int, int]]:
        """Picks that differ."""
        return {what: pair for what, pair in self.picked.items() if pair[0] != pair[1]}


def compare(model: str, sae: str, hook: str, sizes: Sizes, cache: Path, bos: str | None = None) -> Comparison:
    """The two ways on one SAE.

    Args:
        model: name of the model for the suite, which is a folder unless it is pico.
        sae: folder of the SAE, in the suite's own format.
        hook: blocks.N.hook_resid_post.
        sizes: how much.
        cache: for the suite's activations.
        bos: token in front of each text, where the tokenizer adds none.
    """
    texts = {p.stem: lines_of(p)[: sizes.texts] for p in sorted(CONCEPTS.glob("*.txt"))}
    texts = dict(list(texts.items())[: sizes.concepts])
    ours = by_suite(model, sae, hook, texts, sizes, cache, bos)
    theirs, picked = by_reference(model, sae, hook, texts, sizes, bos)
    figures, latents = [], {}
    for task, metrics in theirs.items():
        assert ours[task].status == "ok", ours[task].reason
        scores = {n: s.value for n, s in ours[task].scores.items()}
        assert set(metrics) == set(scores) - OF_LATENTS, set(metrics) ^ set(scores)
        figures += [Compared(task, name, scores[name], value) for name, value in metrics.items()]
        if task in picked:
            named = suite_latents(task, ours[task].diagnostics)
            assert set(named) == set(picked[task]), set(named) ^ set(picked[task])
            latents |= {f"{task} {what}": (named[what], latent) for what, latent in picked[task].items()}
    return Comparison(figures, latents)


def by_suite(
    model: str, sae: str, hook: str, texts: dict[str, list[str]], sizes: Sizes, cache: Path, bos: str | None
) -> dict[str, Record]:
    """The suite's record of each task; arguments as in `compare`, `texts` by concept."""
    corpus = Corpus("texts", tuple(text for lines in texts.values() for text in lines))
    owner = np.repeat(np.arange(len(texts)), [len(lines) for lines in texts.values()])
    part = np.where(in_training(texts), "train", "test")
    rows = np.arange(len(owner))
    labelled = tuple(Labelled(name, corpus, rows, owner == i, part) for i, name in enumerate(texts))
    settings: dict[str, dict[str, object]] = {
        "ce_delta": {"max_tokens": sizes.ce_tokens},
        "sparse_probing": {"ks": sizes.ks},
        "absorption": {"max_words": sizes.words, "examples": sizes.examples, "contexts": "examples"},
    }
    records = run(
        [f"it=native:{sae}"],
        model=model,
        hook=hook,
        data=Data("texts", datasets=labelled, concepts=labelled, texts=(corpus,)),
        tasks=TASKS,
        baselines=[],
        seeds=1,
        settings=settings,
        cache=cache,
        bos=bos or "auto",
    )
    return {record.task.name: record for record in records}


def lines_of(path: Path) -> list[str]:
    """The texts of a topic's file: its lines but for headings and blank ones."""
    return [line for line in path.read_text("utf-8").splitlines() if line.strip() and not line.startswith("## ")]


def by_reference(
    model: str, sae: str, hook: str, texts: dict[str, list[str]], sizes: Sizes, bos: str | None
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, int]]]:
    """(task -> metric -> figure, task -> what for -> latent), in float64; arguments as in `by_suite`."""
    match = re.fullmatch(r"blocks\.(\d+)\.hook_resid_post", hook)
    assert match, f"hook {hook!r} is not blocks.N.hook_resid_post"
    lines = [line for p in sorted(CONCEPTS.glob("*.txt")) for line in lines_of(p)]
    folder = str(CONCEPTS.parent / "pico") if model == "pico" else model
    net = Network(folder, int(match[1]), [lines[i * len(lines) // 64] for i in range(64)], bos)
    dictionary = Dictionary.read(sae)
    together = [text for group in texts.values() for text in group]
    rows = []
    for text in together:
        ids = net.ids(text)
        x = net.activations(ids)
        rows.append(x[net.read(ids, x)])
    codes = [dictionary.encode(x) for x in rows]
    tables = {
        "max": np.stack([f.max(0) for f in codes]),
        "mean": np.stack([f.mean(0) for f in codes]),
        "last": np.stack([f[-1] for f in codes]),
    }
    owner, train = np.repeat(list(texts), [len(group) for group in texts.values()]), in_training(texts)
    probing = {name: sparse_probing(tables, owner == name, train, SEED, sizes.ks) for name in texts}
    detection = {name: concept_detection(tables["max"], owner == name, train, SEED) for name in texts}
    by_letter = letters.absorption(net, dictionary, SEED, sizes.words, sizes.examples)
    figures = {
        "reconstruction": reconstruction(dictionary, np.concatenate(rows)),
        "ce_delta": ce_delta(net, dictionary, together, sizes.ce_tokens),
        "sparse_probing": means(list(probing.values())),
        "concept_detection": means(list(detection.values())),
        "absorption": means(list(by_letter.values())),
    }
    return figures, {"sparse_probing": latents_of(probing), "concept_detection": latents_of(detection)}


def in_training(texts: dict[str, list[str]]) -> np.ndarray:
    """Whether each text is for training: the first half of each concept. [texts] bool"""
    return np.concatenate([np.arange(len(group)) < len(group) // 2 for group in texts.values()])


def means(units: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means over the units that have a metric; of absorbed shares by each unit's own weight."""
    names = sorted({name for unit in units for name in unit} - {"weight"})
    out = {}
    for name in names:
        having = [unit for unit in units if name in unit]
        weights = [unit.get("weight", 1.0) if name in ABSORBED else 1.0 for unit in having]
        out[name] = float(np.average([unit[name] for unit in having], weights=weights))
    return out


def latents_of(found: dict[str, Found]) -> dict[str, int]:
    """`concept, what for` -> latent."""
    return {f"{name}, {what}": latent for name, one in found.items() for what, latent in one.latents.items()}


def suite_latents(task: str, diagnostics: dict[str, Any]) -> dict[str, int]:
    """The same from a record's diagnostics."""
    out = {}
    for name, picks in diagnostics["detector"].items():
        for where, latent in picks.items():
            out[f"{name}, {where.removesuffix(f' {SEED}') if task == 'sparse_probing' else 'detector'}"] = latent
    for name, picks in diagnostics["best_latent"].items():
        for where, latent in picks.items():
            if task == "sparse_probing":
                out[f"{name}, probe {where.removesuffix(f' {SEED}')}"] = latent
            else:
                out[f"{name}, best"] = latent["latent"]
    return out


def summary(found: Comparison) -> list[str]:
    """A line a task with its largest difference, and one on the latents."""
    lines = []
    for task in TASKS:
        worst = found.largest(task)
        both = f"suite {worst.suite:.7g}, reference {worst.reference:.7g}"
        lines.append(f"{task}: largest difference {worst.difference:.2e} ({worst.metric}: {both})")
    others = found.other_latents or ""
    return [*lines, f"latents: {len(found.picked)} picked, {len(found.other_latents)} not the same {others}".strip()]


def page(found: Comparison, command: str) -> str:
    """The comparison in Markdown.

    Args:
        found: the two ways.
        command: that made it.
    """
    rows = [[c.task, c.metric, f"{c.suite:.7g}", f"{c.reference:.7g}", f"{c.difference:.1e}"] for c in found.figures]
    table = tabulate(rows, ["task", "metric", "suite", "reference", "difference"], "github", disable_numparse=True)
    return PAGE.format(command=command, summary="\n".join(f"- {line}" for line in summary(found)), table=table)


PAGE = """# The suite against an independent computation

`{command}`

The reference (`tests/reference/independent`) shares no code with the suite: transformers for the model, numpy in
float64 for everything after it. Both read the same texts; means over concepts, letters or texts.

{summary}

{table}
"""


def main() -> None:
    """Prints a line a task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="pico", help="folder, or pico")
    parser.add_argument("--sae", required=True)
    parser.add_argument("--hook", required=True)
    parser.add_argument("--bos", help="token in front of each text")
    parser.add_argument("--cache", type=Path, required=True, help="folder for the suite's activations")
    names = ("concepts", "texts", "ce_tokens", "words", "examples")
    for name in names:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(Sizes, name))
    parser.add_argument("--out", type=Path, help="Markdown file for every figure")
    args = parser.parse_args()
    sizes = Sizes(**{name: getattr(args, name) for name in names})
    found = compare(args.model, args.sae, args.hook, sizes, args.cache, args.bos)
    print("\n".join(summary(found)))
    if args.out:
        told = {"model": Path(args.model).name, "sae": Path(args.sae).name, "hook": args.hook, "bos": args.bos}
        told |= {name.replace("_", "-"): getattr(args, name) for name in names} | {"cache": "FOLDER"}
        options = " ".join(f"--{n} {shlex.quote(str(v))}" for n, v in told.items() if v is not None)
        write_text(args.out, page(found, f"python -m tests.reference.recompute {options}"))


if __name__ == "__main__":
    main()
