"""How many tensor operations one more SAE takes, by task: what a GPU launches one after another, however small.

    python -m tests.benchmarks.operations > results/bench/operations.md

Counted on a CPU, in groups and strips of the sizes that a GPU gets, of the second of two SAEs of the bundled model. A
wait: an operation whose result the CPU needs before it can go on (a number, a condition, the places of entries).
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from tabulate import tabulate
from torch.utils._python_dispatch import TorchDispatchMode

from saebench_lite.bundled import sae_folders
from saebench_lite.probes import latent_selection, newton
from saebench_lite.runs.evaluate import Session
from saebench_lite.runs.provenance import environment
from saebench_lite.runs.runner import run

TASKS = ("reconstruction", "ce_delta", "concept_detection", "sparse_probing", "absorption")
VIEWS = ("view", "_unsafe_view", "expand", "unsqueeze", "squeeze", "slice.", "select.", "transpose", "t.", "permute")
WAITS = ("_local_scalar_dense", "nonzero", "_unique", "unique", "masked_select")


class Operations(TorchDispatchMode):
    """Counts what is called within it: operations that compute or move something, and waits among them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # Any: as in torch
        name = str(func).removeprefix("aten.")
        if not name.startswith(VIEWS):
            self.seen.update(["operation", "wait"] if name.startswith(WAITS) else ["operation"])
        return func(*args, **(kwargs or {}))


def counted(saes: list[str], tasks: tuple[str, ...] = TASKS, **how: Any) -> dict[str, Counter[str]]:  # Any: of `run`
    """Operations and waits of the last SAE by task."""
    out: dict[str, Counter[str]] = {}
    whole = Session.evaluate

    def counting(session: Session, subject: Any, draft: Any, prepared: Any) -> Any:  # Any: as `evaluate` has them
        with Operations() as operations:
            record = whole(session, subject, draft, prepared)
        out[draft.task.name] = operations.seen
        return record

    with TemporaryDirectory() as cache, ExitStack() as patches:
        for module, name, value in (
            (newton, "CACHE", newton.CACHE_GPU),
            (latent_selection, "STRIP", latent_selection.STRIP_GPU),
            (Session, "evaluate", counting),
        ):
            patches.enter_context(mock.patch.object(module, name, value))
        run(saes, tasks=list(tasks), baselines=[], cache=cache, jobs=1, **how)
    return out


def page() -> str:
    saes = [str(folder) for folder in sae_folders() if folder.name.startswith(("jumprelu", "topk"))][:2]
    rows = [[task, seen["operation"], seen["wait"]] for task, seen in counted(saes).items()]
    table = tabulate(rows, ["task", "operations", "of these waits"], tablefmt="github", intfmt=",")
    return f"# Operations of one more SAE\n\n{__doc__}\nBy commit {environment()['code']}.\n\n{table}\n"


if __name__ == "__main__":
    print(page(), end="")
