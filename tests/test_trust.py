"""docs/trust.md says what the audits found of each metric shown; `python -m tests.test_trust` writes its table."""

from __future__ import annotations

import json
import re
from pathlib import Path

from saebench_lite.api.registered import tasks
from saebench_lite.records.verdicts import PATH, UNAUDITED

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "trust.md"
ATTACKS = ROOT / "results" / "audit" / "attack"
BLOCK = re.compile(r"(<!-- verdicts -->\n)(.*?)(<!-- /verdicts -->)", re.S)
OWN = {
    "passes": "follows it",
    "open": "open",
    "misses": "does not follow it",
    UNAUDITED: "not tried",
}


def lifted(task: str, metric: str) -> str:
    """Weight edits that lift a metric, by site of the committed attacks; a dash where it was not attacked."""
    said = []
    for page in sorted(ATTACKS.glob("*.json")):
        effects = [e for e in json.loads(page.read_text())["effects"] if (e["task"], e["metric"]) == (task, metric)]
        if effects:
            pays = [e["attack"] for e in effects if e["verdict"] == "pays"]
            said.append(f"{page.stem}: {', '.join(pays) or 'none'}")
    return "; ".join(said) or "–"


def table() -> str:
    """A row for each metric shown unasked that has a direction, of the default tasks that run on any model."""
    verdicts = {(v["task"], v["version"], v["metric"]): v for v in json.loads(PATH.read_text())}
    lines = ["| metric | claims | planted faults of its own | moves with others | weight edits that lift it |"]
    lines.append("|---|---|---|---|---|")
    for name, task in tasks().items():
        if not task.card.default or task.card.requires_ground_truth:
            continue
        for metric in (m for m in task.card.shown if task.card.metric(m).better != "neither"):
            found = verdicts.get((name, task.card.version, metric), {})
            own = OWN[found.get("verdict", UNAUDITED)]
            others = f"in {len(found['not_flat'])} of 3 worlds" if found.get("not_flat") else "no" if found else "–"
            claim = task.card.metric(metric).construct
            place = "" if metric in task.card.headline else " (beside)"
            lines.append(f"| `{name}` `{metric}`{place} | {claim} | {own} | {others} | {lifted(name, metric)} |")
    return "\n".join(lines) + "\n"


def updated(text: str) -> str:
    """The page with its table made anew."""
    return BLOCK.sub(lambda m: m[1] + table() + m[3], text)


def test_the_table_is_that_of_the_audits():
    text = PAGE.read_text()
    assert BLOCK.search(text)
    assert updated(text) == text, "run python -m tests.test_trust"


def test_the_count_of_metrics_that_do_not_pass_is_that_of_the_verdicts():
    found = [v for v in json.loads(PATH.read_text()) if v["task"] in ("sparse_probing", "concept_detection")]
    recovery = [v for v in found if v["construct"] == "recovery"]
    others = [v for v in recovery if v["verdict"] != "passes"]
    assert f"of the {len(others)} other metrics of sparse probing and concept detection" in " ".join(
        PAGE.read_text().split()
    )
    passing = {v["metric"] for v in recovery if v["verdict"] == "passes"}
    assert passing == {"average_precision", "average_precision_max", "average_precision_mean"}


def test_edits_that_pay_are_named(tmp_path: Path, monkeypatch):
    effect = {"task": "t", "metric": "m", "attack": "leak", "verdict": "pays"}
    other = {"task": "t", "metric": "m", "attack": "width", "verdict": "does not pay"}
    (tmp_path / "pico.json").write_text(json.dumps({"effects": [other]}))
    (tmp_path / "small.json").write_text(json.dumps({"effects": [effect, other]}))
    monkeypatch.setattr("tests.test_trust.ATTACKS", tmp_path)
    assert lifted("t", "m") == "pico: none; small: leak"
    assert lifted("t", "n") == "–"


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text()))
