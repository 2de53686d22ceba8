"""Verdicts that the package ships, out of the audit's planted faults on several worlds.

    saebench-lite audit --doses --world secret-2101 --out results/audit/doses/secret-2101    (and two more such worlds)
    python -m tests.experiments.verdicts results/audit/doses/*

Writes saebench_lite/bundled/verdicts.json: the judgement of each metric on its own construct over all worlds (of
hierarchy: on planted absorption), and in which of them it moved where the truth of its construct did not.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import cast

from saebench_lite import registry
from saebench_lite.audit.dose_hierarchy import Planting, verdict_of
from saebench_lite.files import write_text
from saebench_lite.records.verdicts import PATH, Verdict, together


def verdicts(folders: list[Path]) -> list[dict[str, object]]:
    """A row a metric that has a direction and that every world judges, by task and metric."""
    worlds = {folder.name: json.loads((folder / "doses.json").read_text()) for folder in folders}
    plantings = {name: [Planting(**row) for row in world["planted_absorption"]] for name, world in worlds.items()}
    judged: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for name, world in worlds.items():
        for row in world["metrics"]:
            judged.setdefault((row["task"], row["metric"]), {})[name] = row["judgement"]
    out = []
    for (task, metric), of in sorted(judged.items()):
        if len(of) < len(worlds):
            continue
        card = registry.get("tasks", task).card
        if card.metric(metric).better == "neither":
            continue
        hierarchy = card.metric(metric).construct == "hierarchy"
        own: list[Verdict] = [
            verdict_of(plantings[name], metric) if hierarchy else cast("Verdict", j["own"]) for name, j in of.items()
        ]
        out.append(
            {
                "task": task,
                "version": card.version,
                "metric": metric,
                "construct": card.metric(metric).construct,
                "verdict": together(own),
                "not_flat": [] if hierarchy else [name for name, j in of.items() if j["others"] == "misses"],
            }
        )
    return out


if __name__ == "__main__":
    write_text(PATH, json.dumps(verdicts([Path(p) for p in sys.argv[1:]]), indent=1) + "\n")
