"""What a newcomer with an SAE of SmolLM2 waits for: a clone of the committed tree, installation, model, scores, table.

`python -m tests.experiments.clean_clone FIRST SECOND --work FOLDER` writes `results/bench/clean-clone.md`. FIRST and
SECOND are SAE folders; nothing outside FOLDER but pip's own cache is read. Seconds by the clock, so run it on an idle
machine; the page has the load that it met.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate

from saebench_lite.files import write_text
from tests.conftest import ROOT

SITE = "--model smollm2 --hook blocks.15.hook_resid_post --bos '<|endoftext|>' --dtype bfloat16"
CUT = "--set absorption.max_words=2000 --baselines diff_in_means,matched_random"
"A logistic regression of every concept costs more than all else together; each record tells its seconds."
INSTALL = 'python3 -m venv .venv && .venv/bin/pip install -q -c constraints.txt ".[gguf]"'


class Step(NamedTuple):
    """One command and what it took."""

    command: str
    wall: float
    cpu: float
    "Of the command and its children."
    load: float
    "Average over the last minute at its end."


def steps(first: str, second: str) -> list[str]:
    """The commands, in order, as a reader of the README would type them in the clone."""
    run = f".venv/bin/saebench-lite run {SITE} --sae"
    return [
        INSTALL,
        ".venv/bin/saebench-lite data pull smollm2",
        f"{run} {first} {CUT} --out scores",
        f"{run} {first} --sae {second} {CUT} --out scores",
        ".venv/bin/saebench-lite leaderboard scores",
    ]


def taken(command: str, folder: Path, environment: Mapping[str, str]) -> Step:
    """Runs a command in a folder; CalledProcessError, with its last lines, where it fails."""
    began, before = time.monotonic(), os.times()
    subprocess.run(["bash", "-c", command], cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return Step(command, time.monotonic() - began, cpu, os.getloadavg()[0])


def page(done: Sequence[Step], commit: str) -> str:
    """One row a command."""
    rows = [[f"`{s.command}`", f"{s.wall:.0f}", f"{s.cpu:.0f}", f"{s.load:.1f}"] for s in done]
    heads = ["command", "seconds", "CPU seconds", "load at its end"]
    table = tabulate(rows, heads, tablefmt="github", disable_numparse=True)
    return "\n".join(
        [
            "# SmolLM2 on a clean clone",
            "",
            "Made by `python -m tests.experiments.clean_clone FIRST SECOND --work FOLDER` from commit"
            f" {commit} on {os.cpu_count()} cores with an empty cache folder: the first SAE with difference in means"
            " and a random dictionary, then a second one beside it, then the table from the records alone. A load"
            " above the number of cores means that others were at work too; CPU seconds do not count their time.",
            "",
            table,
            "",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    asked = parser.parse_args(arguments)
    asked.work.mkdir(parents=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    names = {"FIRST": str(asked.first.resolve()), "SECOND": str(asked.second.resolve())}
    outside = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment = {**outside, "SAEBENCH_LITE_CACHE": str(asked.work.resolve() / "cache"), **names}
    clone = asked.work / "clone"
    done = [taken(f"git clone -q {ROOT} {clone.resolve()}", asked.work, environment)]
    done[0] = done[0]._replace(command="git clone -q REPOSITORY clone && cd clone")
    for command in steps("$FIRST", "$SECOND"):
        done.append(taken(command, clone, environment))
        print(f"{done[-1].wall:.0f} s: {command}", flush=True)
    write_text(ROOT / "results" / "bench" / "clean-clone.md", page(done, commit.strip()))


if __name__ == "__main__":
    main()
