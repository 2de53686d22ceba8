"""Verdicts that the package ships, out of the audit's planted faults and planted causes on several worlds each.

    saebench-lite audit --doses --world secret-2101 --out results/audit/doses/secret-2101    (and two more such worlds)
    saebench-lite audit --causes --world small --out causes-small    (and two more; copy causes.json and causes.md)
    python -m tests.experiments.verdicts results/audit/doses/* results/audit/causes/*

Writes saebench_lite/bundled/verdicts.json. Planted faults: the judgement of each metric on its own construct over all
worlds (of hierarchy: on planted absorption), and in which of them it moved where the truth of its construct did not.
Planted causes: whether each metric ranks oracle, trained, soft-frozen and untrained SAEs, over all worlds.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import cast

from saebench_lite import registry
from saebench_lite.audit.causes import VERDICTS
from saebench_lite.audit.dose_hierarchy import Planting, verdict_of
from saebench_lite.files import write_text
from saebench_lite.records.verdicts import PATH, Verdict, together


def verdicts(folders: list[Path]) -> list[dict[str, object]]:
    """A row a metric that has a direction and that every world of its audit judges, by task and metric."""
    faults = [f for f in folders if (f / "doses.json").is_file()]
    causes = [f for f in folders if (f / "causes.json").is_file()]
    rows = [*on_faults(faults), *on_causes(causes)]
    return sorted(rows, key=lambda row: (row["task"], row["metric"]))


def on_causes(folders: list[Path]) -> list[dict[str, object]]:
    """Verdicts of planted causes; of a task only those of the version that is here."""
    worlds = [json.loads((folder / "causes.json").read_text())["rows"] for folder in folders]
    found: dict[tuple[str, str], list[Verdict]] = {}
    for row in (row for rows in worlds for row in rows):
        if row["version"] == registry.get("tasks", row["task"]).card.version:
            found.setdefault((row["task"], row["metric"]), []).append(VERDICTS[row["verdict"]])
    out: list[dict[str, object]] = []
    for (task, metric), of in found.items():
        if len(of) == len(worlds):
            card = registry.get("tasks", task).card
            row = {"task": task, "version": card.version, "metric": metric, "construct": card.metric(metric).construct}
            out.append({**row, "verdict": together(of), "asked_on": "planted causes"})
    return out


def on_faults(folders: list[Path]) -> list[dict[str, object]]:
    """Verdicts of planted faults."""
    worlds = {folder.name: json.loads((folder / "doses.json").read_text()) for folder in folders}
    plantings = {name: [Planting(**row) for row in world["planted_absorption"]] for name, world in worlds.items()}
    judged: dict[tuple[str, str], dict[str, dict[str, str]]] = {}
    for name, world in worlds.items():
        for row in world["metrics"]:
            judged.setdefault((row["task"], row["metric"]), {})[name] = row["judgement"]
    out: list[dict[str, object]] = []
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
