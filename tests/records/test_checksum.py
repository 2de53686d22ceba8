"""Every byte of a record is covered; files of before checksums, and FIFOs among the records, stop nothing."""

import json
import os
import re

import numpy as np
import pytest

from saebench_lite.errors import SaebenchError
from saebench_lite.records.record import Record, read_all
from saebench_lite.records.types import MetricScore
from tests.helpers.record_factory import made_up, provenance

VALUES = {"auroc": np.array([[0.4], [0.5], [0.6]])}


@pytest.fixture
def path(tmp_path):
    return made_up("a", VALUES, seeds=(42,), diagnostics={"latents": [1, 2]}).save(tmp_path)


def test_the_checksum_is_the_last_key_and_of_all_before_it(path):
    text = path.read_text()
    assert re.search(r',\n"checksum": "[0-9a-f]{16}"\n}\n$', text)
    assert Record.load(path).scores["auroc"].value == 0.5


def test_no_changed_byte_is_read(path):
    good = path.read_bytes()
    for place in range(0, len(good), 3):
        for bit in (1, 16):
            bad = bytearray(good)
            bad[place] ^= bit
            path.write_bytes(bytes(bad))
            with pytest.raises(SaebenchError) as caught:
                Record.load(path)
            assert str(caught.value).startswith(str(path)), place


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"value": 0.5', '"value": 0.999999'),
        ("0.4", "0.9"),
        ("[1, 2]", "[1, 3]"),
        ('"kind": "sae"', '"kind": "control"'),
    ],
)
def test_an_edited_score_is_named_as_edited(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(SaebenchError, match="was edited: it does not fit its checksum; delete it and run again"):
        Record.load(path)
    records, complaints = read_all(path.parents[3])
    assert records == []
    assert len(complaints) == 1


def test_a_key_twice_or_a_second_checksum_is_an_edit(path):
    text = path.read_text()
    for bad in (text.replace("{\n", '{\n"status": "ok",\n', 1), text.replace("\n}\n", ',\n"checksum": "0"\n}\n')):
        path.write_text(bad)
        with pytest.raises(SaebenchError, match="does not fit its checksum"):
            Record.load(path)


def test_a_file_without_a_checksum_is_read_as_before(path):
    content = json.loads(path.read_text())
    want = Record.load(path)
    del content["checksum"]
    path.write_text(json.dumps(content))
    assert Record.load(path) == want


def test_a_saved_record_reads_back_whatever_its_texts(tmp_path):
    for name in ('a",\n"checksum": ', "b\n}\n", "é\u2028", "c\\"):
        made = made_up(name, VALUES, seeds=(42,))
        assert Record.load(made.save(tmp_path)) == made


def test_infinity_by_way_of_a_large_number_is_no_score(path):
    content = json.loads(path.read_text())
    del content["checksum"]
    path.write_text(json.dumps(content).replace('"value": 0.5', '"value": 1e999'))
    with pytest.raises(SaebenchError, match="a score is inf"):
        Record.load(path)
    with pytest.raises(SaebenchError, match="not a finite number"):
        MetricScore(value=0.5, low=None, high=float("inf"), n=1, per_seed=[])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_fifo_or_a_device_among_the_records_hangs_nothing(path):
    os.mkfifo(path.parent / "0123456789abcdef.json")
    (path.parent / "fedcba9876543210.json").symlink_to("/dev/zero")
    records, complaints = read_all(path.parents[3])
    assert len(records) == 1
    assert all("no regular file" in c for c in complaints)
    assert len(complaints) == 2


def test_provenance_is_covered(tmp_path):
    made = made_up("a", VALUES, seeds=(42,))
    import dataclasses

    path = dataclasses.replace(made, provenance=provenance()).save(tmp_path)
    path.write_text(path.read_text().replace("2025-01-01", "2035-01-01"))
    with pytest.raises(SaebenchError, match="checksum"):
        Record.load(path)
