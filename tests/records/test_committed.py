"""The committed results: every summary follows from the stored units, every digest from its parts, no edited checkout."""

import pytest

from saebench_lite.records.verify import result_folders, verify
from tests.conftest import ROOT

FOLDERS = result_folders(ROOT / "results")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_committed_results_verify(folder):
    records, faults = verify(folder, strict_code=True)
    assert records > 0
    assert faults == []
