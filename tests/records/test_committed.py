"""The committed results: summaries follow from the stored units, digests from their parts, no checkout was edited."""

import pytest

from saebench_lite.records.verify import result_folders, verify
from tests.conftest import ROOT

FOLDERS = result_folders(ROOT / "results")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_committed_results_verify(folder):
    records, faults = verify(folder, strict_code=True)
    assert records > 0
    assert faults == []
