"""Shipped grades are those of the published audit, and every metric with a direction that a table prints has one."""

import json

import pytest

from saebench_lite import grading, registry
from tests.test_readme import ROOT

AUDITED = ("sparse_probing", "concept_detection", "reconstruction", "ce_delta", "absorption")


def test_grades_are_those_of_the_audit():
    published = json.loads((ROOT / "results" / "audit" / "grades.json").read_text())
    assert json.loads(grading.PATH.read_text()) == published
    page = (ROOT / "results" / "audit" / "audit.md").read_text()
    for row in published:
        assert f"| {row['grade']}       | {row['task']} {row['metric']} " in page


@pytest.mark.parametrize("task", AUDITED)
def test_every_headline_has_a_grade(task):
    card = registry.get("tasks", task).card
    for name in card.headline:
        if card.metric(name).better != "neither":
            assert (task, card.version, name) in grading.grades(), name


def test_what_fails_is_what_got_an_f():
    assert grading.fails("sparse_probing", 3, "auroc_k1_last")
    assert not grading.fails("sparse_probing", 3, "rare_f1_mean")
    assert not grading.fails("sparse_probing", 1, "auroc_k1_last")
    assert not grading.fails("theirs", 1, "anything")
