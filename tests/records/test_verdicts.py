"""Shipped verdicts are those of the published audits, and every headline with a direction has one."""

import json

import pytest

from saebench_lite import registry
from saebench_lite.records import verdicts as records_verdicts
from saebench_lite.records.metric import Metric
from saebench_lite.records.verdicts import PATH, Verdicts, shipped_verdicts, together
from tests.conftest import ROOT
from tests.experiments.verdicts import verdicts

AUDITED = {name for name, task in registry.get_all("tasks").items() if task.card.default}


def test_shipped_verdicts_are_those_of_the_audit():
    folders = sorted((ROOT / "results" / "audit" / "doses").iterdir())
    assert len(folders) >= 3
    causes = sorted((ROOT / "results" / "audit" / "causes").glob("*"))
    assert json.loads(PATH.read_text()) == verdicts([*folders, *causes])


def test_planted_causes_are_judged_over_worlds_and_keep_their_mark(tmp_path, monkeypatch):
    """Ranks on all worlds, on most of them not, on one of them not asked, of an earlier version."""
    rows = {"log2_direction": ("ranks", "ranks", "ranks"), "log2_ratio": ("does not", "ranks", "does not")}
    version = registry.get("tasks", "causal_effect").card.version
    for i in range(3):
        row = {"task": "causal_effect", "version": version}
        found = [{**row, "metric": m, "verdict": of[i]} for m, of in rows.items()]
        found += [{**row, "metric": "selectivity", "verdict": "ranks"}][:i]
        found += [{**row, "metric": "targeted", "verdict": "ranks", "version": version - 1}]
        (tmp_path / f"w{i}").mkdir()
        (tmp_path / f"w{i}" / "causes.json").write_text(json.dumps({"rows": found}))
    got = verdicts(sorted(tmp_path.iterdir()))
    assert {(v["metric"], v["verdict"]) for v in got} == {("log2_direction", "passes"), ("log2_ratio", "misses")}
    monkeypatch.setattr(records_verdicts, "PATH", tmp_path / "verdicts.json")
    (tmp_path / "verdicts.json").write_text(json.dumps(got))
    shipped = shipped_verdicts.__wrapped__()
    assert len(shipped.on_causes) == 2
    named, directed = ["log2_direction", "log2_ratio", "effect"], ["log2_direction", "log2_ratio"]
    assert shipped.headline("causal_effect", version, named, directed) == ["log2_direction", "effect"]
    assert shipped.headline("causal_effect", version, ["log2_ratio", "effect"], directed) == ["log2_ratio", "effect"]
    assert shipped.headline("causal_effect", version + 1, named, directed) == named


def test_every_headline_of_the_default_tasks_passes_and_what_stands_beside_has_a_verdict():
    headlines = []
    moved = {(v["task"], v["metric"]) for v in json.loads(records_verdicts.PATH.read_text()) if v.get("not_flat")}
    for name in AUDITED:
        card = registry.get("tasks", name).card
        headlines += card.headline
        for metric in card.headline:
            assert shipped_verdicts().of(name, card.version, card.metric(metric)) == "passes", metric
            assert (name, metric) not in moved
        for declared in map(card.metric, card.beside):
            if declared.better != "neither":
                assert shipped_verdicts().of(name, card.version, declared) in ("passes", "misses", "open"), declared
    assert {"sparse_probing", "concept_detection", "reconstruction", "ce_delta", "absorption", "truth"} <= AUDITED
    assert len(headlines) >= 9


def test_what_no_audit_has_seen_is_called_unaudited():
    anything = Metric(name="anything", meaning="", better="higher")
    assert Verdicts({}).of("theirs", 1, anything) == "unaudited"
    assert Verdicts({}).of("theirs", 1, Metric(name="l0", meaning="", better="neither")) is None
    known = Verdicts({("theirs", 1, "anything"): "misses"})
    assert known.misses("theirs", 1, "anything")
    assert known.of("theirs", 1, anything) == "misses"
    assert not known.misses("theirs", 2, "anything")


def test_several_worlds_together():
    assert together(["passes", "passes", "passes"]) == "passes"
    assert together(["passes", "misses", "misses"]) == "misses"
    assert together(["passes", "misses", "passes"]) == together(["passes", "open", "passes"]) == "open"
    assert together(["passes", "misses"]) == "open"  # half of them is not most of them
    with pytest.raises(ValueError, match="no verdicts"):
        together([])
