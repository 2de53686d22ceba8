"""Shipped verdicts are those of the published audit, and every headline with a direction has one."""

import json

import pytest

from saebench_lite import registry
from saebench_lite.records.metric import Metric
from saebench_lite.records.verdicts import PATH, Verdicts, shipped_verdicts, together
from tests.conftest import ROOT
from tests.experiments.verdicts import verdicts

AUDITED = {"sparse_probing", "concept_detection", "reconstruction", "ce_delta", "absorption"}


def test_shipped_verdicts_are_those_of_the_audit():
    folders = sorted((ROOT / "results" / "audit" / "doses").iterdir())
    assert len(folders) >= 3
    assert json.loads(PATH.read_text()) == verdicts(folders)


def test_every_headline_of_the_default_tasks_has_a_verdict():
    for name in AUDITED:
        card = registry.get("tasks", name).card
        for metric in card.headline:
            declared = card.metric(metric)
            if declared.better != "neither":
                assert shipped_verdicts().of(name, card.version, declared) in ("passes", "misses", "open"), metric


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
