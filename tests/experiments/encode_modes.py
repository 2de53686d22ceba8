"""What encoding by tensor-core products changes: codes that flip, and each metric beside its interval.

    python -m tests.experiments.encode_modes > results/bench/encode.md
    python -m tests.experiments.encode_modes --smollm2 FOLDER_OF_SAES >> results/bench/encode.md

Without a GPU the pieces are multiplied in float32: the operands are those of a GPU, the order of sums is not.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from saebench_lite.bundled import sae_folders
from saebench_lite.records.record import Record
from saebench_lite.runs.runner import run

MODES = ("tf32x3", "bf16")
TASKS = ("reconstruction", "ce_delta", "sparse_probing", "concept_detection", "absorption")
PICO: dict[str, Any] = {"model": "pico"}
SMOLLM2: dict[str, Any] = {
    "model": "smollm2",
    "hook": "blocks.15.hook_resid_post",
    "bos": "<|endoftext|>",
    "dtype": "bfloat16",
    "settings": {
        "absorption": {"max_words": 2000, "contexts": "examples"},
        "reconstruction": {"max_tokens": 20_000},
        "ce_delta": {"max_tokens": 4_000},
    },
}
OF_SMOLLM2 = ("batchtopk_4096_l0_32", "jumprelu_4096_l0_32", "relu_4096_l0_32", "topk_4096_l0_32")


def lines(saes: Sequence[str], site: dict[str, Any]) -> list[str]:
    """The table of one model."""
    common: dict[str, Any] = {"tasks": TASKS, "baselines": [], "seeds": 1, "progress": False, **site}
    plain = scored(run(list(saes), encode="float32", **common))
    others = {mode: run(list(saes), encode=mode, **common) for mode in MODES}
    out = [
        "",
        f"## {site['model']}, {site.get('dtype', 'float32')}: {', '.join(Path(s).name for s in saes)}",
        "",
        *(flips(mode, records) for mode, records in others.items()),
        "",
        "| metric | median half-width | tf32x3, largest change | bf16, largest change |",
        "|---|---|---|---|",
    ]
    tables = {mode: scored(records) for mode, records in others.items()}
    for task, metric in dict.fromkeys((task, metric) for task, _, metric in plain):
        cells = [k for k in plain if k[0] == task and k[2] == metric]
        spans = [(s.high - s.low) / 2 for k in cells if (s := plain[k]).low is not None and s.high is not None]
        width = f"{np.median(spans):.2g}" if spans else "–"
        changes = [max(abs(tables[mode][k].value - plain[k].value) for k in cells) for mode in MODES]
        out.append(f"| {task} {metric} | {width} | {' | '.join(f'{c:.1e}' for c in changes)} |")
    return out


def scored(records: Sequence[Record]) -> dict[tuple[str, str, str], Any]:
    """Scores by task, subject and headline metric."""
    return {
        (r.task.name, r.subject.name, metric): r.scores[metric]
        for r in records
        for metric in r.task.shown
        if metric in r.scores
    }


def flips(mode: str, records: Sequence[Record]) -> str:
    """One line on the codes of a mode."""
    facts: list[Any] = [r.diagnostics["encode"] for r in records if "encode" in r.diagnostics]
    flipped, error = (max(f[key] for f in facts) for key in ("flipped", "error"))
    return f"- {mode}: at most {flipped:.1e} of the codes fire in one way alone; relative error at most {error:.1e}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smollm2", type=Path, help="folder of its SAEs")
    given = parser.parse_args(arguments)
    if given.smollm2 is None:
        print("# Encoding on tensor cores: what it changes\n")
        print("`python -m tests.experiments.encode_modes`; the second table: the same with `--smollm2 FOLDER_OF_SAES`.")
        print("Changes are those from float32, over all SAEs of a table.")
        print("\n".join(lines([str(f) for f in sae_folders()], PICO)))
    else:
        print("\n".join(lines([str(given.smollm2 / name) for name in OF_SMOLLM2], SMOLLM2)))


if __name__ == "__main__":
    main()
