"""Where a run's CPU seconds go: `python -m tests.benchmarks.where [options of run]`, by part and by task and kind.

CPU seconds of this process, all threads; on a busy machine they are steadier than time on the clock.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any

from saebench_lite.activations import store
from saebench_lite.cli import main
from saebench_lite.runs import setup
from saebench_lite.runs.evaluate import Session


class Parts:
    """CPU seconds by part; what a part calls that is a part itself counts there alone."""

    def __init__(self) -> None:
        self.seconds, self.calls = Counter({"imports": time.process_time()}), Counter({"imports": 1})
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
    store.collect_many = parts.timed(lambda *_, **__: "activations by the model", store.collect_many)
    setup._subjects = parts.timed(lambda *_: "set-up of subjects", setup._subjects)
    Session.prepare = parts.timed(lambda _, task, *__: f"prepare {task.card.name}", Session.prepare)
    Session.loaded = parts.timed(lambda *_: "load a subject", Session.loaded)
    Session.evaluate = parts.timed(
        lambda _, who, draft, *__: f"{draft.task.name}, {who.name if who.sae is None else who.kind}", Session.evaluate
    )
    with TemporaryDirectory() as folder:
        sys.argv = ["saebench-lite", "run", "--quiet", "--out", f"{folder}/out", "--cache", f"{folder}/cache", *words]
        try:
            main.main()
        except SystemExit as done:
            if done.code:
                raise
    total = time.process_time()
    parts.seconds["everything else"] = total - parts.seconds.total()
    for name, spent in parts.seconds.most_common():
        print(f"{spent:8.2f} s  {parts.calls[name] or '':>4}  {name}")
    print(f"{total:8.2f} s        in all")


if __name__ == "__main__":
    run(sys.argv[1:])
