"""Verdicts that the package ships, out of the audit's planted faults on several worlds.

    saebench-lite audit --doses --world small --out results/audit/doses/small    (and two worlds nobody designed for)
    python -m tests.experiments.verdicts results/audit/doses/*

Writes saebench_lite/bundled/verdicts.json: the judgement of each metric on its own construct over all worlds, and in
which of them it moved where the truth of its construct did not.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from saebench_lite import registry
from saebench_lite.files import write_text
from saebench_lite.records.verdicts import PATH, together


def verdicts(folders: list[Path]) -> list[dict[str, object]]:
    """A row a metric that every world judges, by task and metric."""
    judged: dict[tuple[str, str], dict[str, dict]] = {}
    for folder in folders:
        for row in json.loads((folder / "doses.json").read_text())["metrics"]:
            judged.setdefault((row["task"], row["metric"]), {})[folder.name] = row
    out = []
    for (task, metric), of in sorted(judged.items()):
        if len(of) == len(folders):
            card = registry.get("tasks", task).card
            out.append(
                {
                    "task": task,
                    "version": card.version,
                    "metric": metric,
                    "construct": card.metric(metric).construct,
                    "verdict": together([row["judgement"]["own"] for row in of.values()]),
                    "not_flat": [world for world, row in of.items() if row["judgement"]["others"] == "misses"],
                }
            )
    return out


if __name__ == "__main__":
    write_text(PATH, json.dumps(verdicts([Path(p) for p in sys.argv[1:]]), indent=1) + "\n")
