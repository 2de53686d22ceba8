"""Where a run's CPU seconds go: `python -m tests.benchmarks.where [options of run]`, by part and by task and kind.

CPU seconds of this process, all threads; on a busy machine they are steadier than time on the clock.
"""

from __future__ import annotations

import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from saebench_lite.activations import store
from saebench_lite.cli import main
from saebench_lite.runs import setup
from saebench_lite.runs.evaluate import Session


class Parts:
    """CPU seconds by part; what a part calls that is a part itself counts there alone."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float, {"imports": time.process_time()})
        self.calls = Counter({"imports": 1})
        self._inner = [0.0]

    def timed(self, label: Callable[..., str], call: Callable) -> Callable:
        """The same call as a part that is named after its arguments."""

        def wrapped(*words: Any, **named: Any) -> Any:  # Any: whatever the call takes
            started = time.process_time()
            self._inner.append(0.0)
            try:
                return call(*words, **named)
            finally:
                spent, inner = time.process_time() - started, self._inner.pop()
                self.seconds[label(*words)] += spent - inner
                self.calls[label(*words)] += 1
                self._inner[-1] += spent

        return wrapped


def run(words: list[str]) -> None:
    parts = Parts()
    named: list[tuple[Any, str, Callable[..., str]]] = [
        (store, "collect_many", lambda *_, **__: "activations by the model"),
        (setup, "_subjects", lambda *_: "set-up of subjects"),
        (Session, "prepare", lambda _, task, *__: f"prepare {task.card.name}"),
        (Session, "loaded", lambda *_: "load a subject"),
        (Session, "evaluate", lambda _, who, draft, *__: f"{draft.task.name}, {who.kind if who.sae else who.name}"),
    ]
    with TemporaryDirectory() as folder, ExitStack() as patches:
        for place, name, label in named:
            patches.enter_context(mock.patch.object(place, name, parts.timed(label, getattr(place, name))))
        fixed = ["--quiet", "--jobs", "1", "--out", f"{folder}/out", "--cache", f"{folder}/cache"]
        patches.enter_context(mock.patch.object(sys, "argv", ["saebench-lite", "run", *fixed, *words]))
        try:
            main.main()
        except SystemExit as done:
            if done.code:
                raise
    total = time.process_time()
    parts.seconds["everything else"] = total - sum(parts.seconds.values())
    for name, spent in sorted(parts.seconds.items(), key=lambda part: -part[1]):
        print(f"{spent:8.2f} s  {parts.calls[name] or '':>4}  {name}")
    print(f"{total:8.2f} s        in all")


if __name__ == "__main__":
    run(sys.argv[1:])
