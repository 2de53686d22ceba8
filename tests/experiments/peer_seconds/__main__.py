"""Seconds of core, sparse probing and absorption, SAEBench 0.6.0 and this package side by side in one run.

    SAEBENCH_LITE_PARITY=folder python -m tests.experiments.peer_seconds --python PYTHON --work FOLDER

writes results/bench/peers.md. The parity folder holds a small language model (lm/), SAEs (saes/) and texts, as
tests/test_parity.py reads it; PYTHON is that of an environment with sae-bench 0.6.0; FOLDER must not exist.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tabulate import tabulate
from transformers import AutoTokenizer

from saebench_lite.files import write_text
from saebench_lite.runs.profiles import profile
from tests.conftest import ROOT
from tests.experiments.peer_seconds.clock import Measured, Spent
from tests.experiments.peer_seconds.inputs import lay_out
from tests.experiments.peer_seconds.ours import PROTOCOLS
from tests.experiments.peer_seconds.theirs import EVALS

THREADS = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS", "RAYON")}
"One thread on either side, for tokenising too."
OFFLINE = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
UNCHECKED = {"JAXTYPING_DISABLE": "1"}
"SAEBench's: with beartype 0.23.1 its own annotations of shapes stop sparse probing (so the page says)."
SIDES = ("SAEBench 0.6.0", *(f"ours, {p} definitions" for p in PROTOCOLS))


def measured(python: str, module: str, arguments: Sequence[str], work: Path, extra: Mapping[str, str]) -> Measured:
    """What a side's process took; CalledProcessError where it fails."""
    environment = {**os.environ, **THREADS, **OFFLINE, "HF_HOME": str(work / "home"), **extra}
    environment |= {"PYTHONPATH": str(ROOT)}
    command = [python, "-W", "ignore", "-m", f"tests.experiments.peer_seconds.{module}", *arguments, str(work)]
    name = "-".join([module, *reversed(arguments)])
    with (work / f"{name}.log").open("w") as log:
        subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=log, stderr=log)
    return Measured.load(work / f"{name}.json")


def table(done: Mapping[str, Sequence[Measured]]) -> str:
    """CPU seconds, those by the clock in brackets; one row an evaluation, and their sum. done: {eval: sides}."""
    heads = ["eval", *(f"{side}: {which} SAE" for side in SIDES for which in ("first", "further"))]
    rows = [[name, *(s for m in sides for s in (m.first, m.further))] for name, sides in done.items()]
    sums = [
        Spent(sum(s.cpu for s in column), sum(s.wall for s in column)) for column in list(zip(*rows, strict=True))[1:]
    ]
    shown = [[str(r[0]), *(f"{s.cpu:.1f} ({s.wall:.1f})" for s in r[1:])] for r in [*rows, ["all three", *sums]]]
    return tabulate(shown, heads, tablefmt="github", disable_numparse=True)


def ratios(done: Mapping[str, Sequence[Measured]]) -> list[str]:
    """How many times as many CPU seconds SAEBench takes, over all evaluations."""
    lines = []
    for place, side in enumerate(SIDES[1:], 1):
        first, further = (
            sum(getattr(m[0], which).cpu for m in done.values())
            / sum(getattr(m[place], which).cpu for m in done.values())
            for which in ("first", "further")
        )
        lines.append(
            f"- {side}: SAEBench takes {first:.1f} times as long for a first SAE, {further:.1f} for a further."
        )
    return lines


def page(done: Mapping[str, Sequence[Measured]], commit: str) -> str:
    """The whole of results/bench/peers.md."""
    theirs, ours, _ = next(iter(done.values()))
    versions = ["; ".join(f"{n} {v}" for n, v in side.versions.items()) for side in (theirs, ours)]
    importing = ", ".join(f"{m.importing.cpu:.1f}" for m in next(iter(done.values())))
    return "\n".join(
        [
            "# Seconds beside SAEBench's",
            "",
            "`SAEBENCH_LITE_PARITY=folder python -m tests.experiments.peer_seconds --python PYTHON --work FOLDER`,"
            f" commit {commit}, {platform.machine()}, {os.cpu_count()} cores,"
            f" load at the end {os.getloadavg()[0]:.1f}.",
            "",
            "CPU seconds, in brackets seconds by the clock. Every cell was measured in this one call, each side in"
            " a process of its own with one thread, on the same model (4 layers, width 128), SAEs (1,024 latents),"
            " token ids (core) and texts (sparse probing); absorption draws its own prompts from the same vocabulary."
            " First SAE: model, data and shared set-up included. Further SAE: the second of the same call, with what"
            " either side caches. Importing libraries, apart from that, in the order of the columns: "
            f"{importing} CPU seconds (first row).",
            "",
            table(done),
            "",
            *ratios(done),
            "",
            f"SAEBench's environment: {versions[0]}. Ours: {versions[1]}.",
            "",
            "What was changed for SAEBench: the model comes from an offline Hub cache under the name of one of the"
            " same architecture, core's rows from a local dataset (which SAELens does not look up on the"
            " Hub), the labelled texts from a file (its reader is"
            " replaced); absorption scores from five letters on instead of 20, as the model knows few, on both sides;"
            " sparse probing has 500 training and 200 test texts a class instead of 2,000 and 500, on both sides;"
            " annotations of shapes are not checked (`JAXTYPING_DISABLE=1`), as beartype 0.23.1 stops sparse probing"
            " at them. Beside a CPU build of torch the torchvision that it requires does not load, and was removed:"
            " no evaluation uses it.",
            "",
            "Ours by its own definitions: `seeds=1`, mean pooling and k of 1, 2, 5, no baselines, absorption after"
            " examples only. Ours by SAEBench's (`--profile saebench-0.6`): "
            + "; ".join(profile("saebench-0.6").beyond)
            + ".",
            "",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--python", required=True, help="of an environment with sae-bench 0.6.0")
    parser.add_argument("--work", type=Path, required=True, help="a new folder")
    asked = parser.parse_args(arguments)
    if not (parity := os.environ.get("SAEBENCH_LITE_PARITY")):
        raise SystemExit("SAEBENCH_LITE_PARITY names no folder with the model, SAEs and texts")
    work = asked.work.resolve()
    work.mkdir(parents=True)
    lay_out(Path(parity), work, AutoTokenizer.from_pretrained(Path(parity) / "lm"))
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    done: dict[str, list[Measured]] = {}
    for name in EVALS:
        done[name] = [measured(asked.python, "theirs", [name], work, UNCHECKED)]
        done[name] += [measured(sys.executable, "ours", [name, p], work, {}) for p in PROTOCOLS]
        print(name, [(m.first, m.further) for m in done[name]], flush=True)
    write_text(ROOT / "results" / "bench" / "peers.md", page(done, commit.strip()))


if __name__ == "__main__":
    main()
