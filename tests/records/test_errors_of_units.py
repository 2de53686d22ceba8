"""Standard errors of unit values: stored, read, verified; the interval of one unit is over its texts."""

import dataclasses
import json

import numpy as np
import pytest

from saebench_lite.records.arrays import common_units, metric_noise, sampling_noise, unit_errors
from saebench_lite.records.record import Record
from saebench_lite.records.verify import verify
from saebench_lite.stats.single_unit import interval_over_texts
from tests.helpers.record_factory import made_up, provenance

ONE = {"auroc": np.array([[0.8, 0.7, 0.75]])}
ERRORS = {"auroc": np.array([[0.02, 0.04, np.nan]])}


def single(**other) -> Record:
    return dataclasses.replace(made_up("a", ONE, errors=ERRORS, **other), provenance=provenance())


def test_one_unit_has_an_interval_from_its_errors_and_several_have_theirs_without():
    score = single().scores["auroc"]
    assert (score.low, score.high) == pytest.approx(interval_over_texts(0.75, 0.03))
    assert made_up("a", ONE).scores["auroc"].low is None
    two = {"auroc": np.array([[0.8], [0.6]])}
    with_errors = made_up("a", two, seeds=(1,), errors={"auroc": np.full((2, 1), 0.3)})
    assert with_errors.scores == made_up("a", two, seeds=(1,)).scores


def test_the_only_unit_with_a_value_counts():
    table = np.array([[np.nan], [0.7]])
    record = made_up("a", {"auroc": table}, seeds=(1,), errors={"auroc": np.array([[9.0], [0.05]])})
    score = record.scores["auroc"]
    assert score.n == 1
    assert (score.low, score.high) == pytest.approx(interval_over_texts(0.7, 0.05))
    assert unit_errors(record, "auroc") == {"u1": 0.05}
    assert common_units([record, made_up("b", {"auroc": np.ones((3, 1))}, seeds=(1,))], "auroc") == ["u1"]


def test_errors_survive_the_file_and_are_verified(tmp_path):
    record = single()
    path = record.save(tmp_path)
    assert Record.load(path) == record
    assert record.digest == made_up("a", ONE).digest
    assert verify(tmp_path) == (1, [])
    content = json.loads(path.read_text())
    del content["checksum"]
    content["per_unit"]["auroc"]["errors"][0][0] = 0.03
    path.write_text(json.dumps(content))
    assert "auroc: low is" in verify(tmp_path)[1][0]
    del content["per_unit"]["auroc"]["errors"]  # as written before there were any
    path.write_text(json.dumps(content))
    assert Record.load(path).per_unit["auroc"].errors is None


def test_sampling_noise_enters_the_reliable_difference():
    draw = np.random.default_rng(0)
    values = {"auroc": draw.normal(0.7, 0.01, (4, 3))}
    errors = {"auroc": np.repeat([[0.02], [0.04], [0.02], [0.04]], 3, axis=1)}
    records = [made_up(name, values, errors=errors) for name in "ab"]
    sd = np.sqrt(2 * 0.02**2 + 2 * 0.04**2) / 4
    assert sampling_noise(records, "auroc") == pytest.approx([sd, sd])
    noise, without = metric_noise(records, "auroc"), metric_noise([made_up("a", values)] * 2, "auroc")
    assert noise is not None
    assert without is not None
    assert noise.mrd == pytest.approx(np.hypot(without.mrd, 1.959964 * np.sqrt(2) * sd), rel=1e-6)
