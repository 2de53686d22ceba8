"""The committed results: summaries follow from the stored units, digests from their parts, no checkout was edited."""

import re

import pytest

from saebench_lite.records.verify import result_folders, verify
from tests.conftest import ROOT

FOLDERS = result_folders(ROOT / "results")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_committed_results_verify(folder):
    records, faults = verify(folder, strict_code=True)
    assert records > 0
    assert faults == []


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_committed_results_name_no_place_on_a_machine(folder):
    """A path tells nobody else anything; settings tell a file by its content (`recorded_settings`)."""
    place = re.compile(r'"(?:/|~/|[A-Za-z]:\\\\)[^"/]+/')
    found = [(p.name, m[0]) for p in folder.rglob("*.json") if (m := place.search(p.read_text()))]
    assert found == []
