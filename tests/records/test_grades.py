"""Shipped grades are those of the published audit, and every metric with a direction that a table prints has one."""

import json

from saebench_lite import registry
from saebench_lite.records.grades import PATH, shipped_grades
from saebench_lite.records.record import read_all
from tests.conftest import ROOT

AUDITED = {"sparse_probing", "concept_detection", "reconstruction", "ce_delta", "absorption", "probing_regimes"}


def test_grades_are_those_of_the_audit():
    published = json.loads((ROOT / "results" / "audit" / "grades.json").read_text())
    assert json.loads(PATH.read_text()) == published
    page = (ROOT / "results" / "audit" / "audit.md").read_text()
    for row in published:
        assert f"| {row['grade']}       | {row['task']} {row['metric']} " in page


def test_every_headline_of_every_task_has_a_grade():
    headlines = [
        (name, task.card.version, metric)
        for name, task in registry.get_all("tasks").items()
        for metric in task.card.headline
        if shipped_grades().grade_of(name, task.card.version, metric, task.card.metric(metric).better) is not None
    ]
    assert {name for name, _, _ in headlines} >= AUDITED
    assert [h for h in headlines if h not in shipped_grades().letters] == []


def test_every_metric_that_the_default_run_prints_has_a_grade():
    """The published records are those of `saebench-lite run`; versions are those of the tasks as they are now."""
    records, _ = read_all(ROOT / "results" / "pico")
    printed = set()
    for r in records:
        card = registry.get("tasks", r.task.name).card
        printed |= {(card.name, card.version, m) for m in r.scores if card.metric(m).better != "neither"}
    assert {"auroc_k50_last", "auroc_k2_mean"} <= {metric for _, _, metric in printed}
    assert sorted(p for p in printed if p not in shipped_grades().letters) == []


def test_what_no_audit_has_seen_is_called_ungraded():
    assert shipped_grades().grade_of("theirs", 1, "anything", "higher") == "ungraded"
    assert shipped_grades().grade_of("reconstruction", 1, "l0", "neither") is None
    assert shipped_grades().grade_of("truth", 1, "f1", "higher") is None
    assert shipped_grades().grade_of("reconstruction", 1, "explained_variance", "higher") in set("ABCDF")


def test_what_fails_is_what_got_an_f():
    assert shipped_grades().fails("sparse_probing", 3, "auroc_k1_last")
    assert not shipped_grades().fails("sparse_probing", 3, "rare_f1_mean")
    assert not shipped_grades().fails("sparse_probing", 1, "auroc_k1_last")
    assert not shipped_grades().fails("theirs", 1, "anything")
