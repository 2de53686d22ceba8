"""The export to Every Eval Ever: valid under its own schema, with the figures of the records, nothing twice."""

import copy
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft7Validator

from saebench_lite.errors import SaebenchError
from saebench_lite.records.record import Record, read
from saebench_lite.report.eee_json import eee_results
from saebench_lite.report.exports import export
from tests.report.test_exports import exported, of_task
from tests.test_docs import ROOT

SCHEMA = json.loads((ROOT / "tests" / "fixtures" / "every_eval_ever" / "eval.schema.json").read_text())
VALIDATOR = Draft7Validator(SCHEMA)
PATH = r"data/saebench-lite/[^/]+/[^/]+/[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\.json"
"Of its datastore: collection, owner, model, UUID of version 4."


def violations(log: dict[str, Any]) -> list[str]:
    """What breaks the schema, as `place: rule`, empty for a valid log."""
    return [f"/{'/'.join(map(str, e.absolute_path))}: {e.validator}" for e in VALIDATOR.iter_errors(log)]


def logs(records: list[Record], **options: Any) -> dict[str, dict[str, Any]]:
    return {path: json.loads(text) for path, text in eee_results(records, **options).items()}


def declared(record: Record, **cards: dict[str, Any]) -> Record:
    metrics = {m: dataclasses.replace(card, **cards.get(m, {})) for m, card in record.task.metrics.items()}
    return dataclasses.replace(record, task=dataclasses.replace(record.task, metrics=metrics))


@pytest.fixture(scope="module")
def committed() -> dict[str, dict[str, Any]]:
    return logs(read(ROOT / "results" / "pico"), metrics="all")


def test_committed_results_are_valid(committed: dict[str, dict[str, Any]]):
    """Records of the bundled SAEs: real metrics, settings, metadata."""
    assert len(committed) == 12
    for path, log in committed.items():
        assert violations(log) == []
        assert re.fullmatch(PATH, path)
        assert path.split("/")[2:4] == log["model_info"]["id"].split("/")
        assert len(log["evaluation_results"]) > 20
        for result in log["evaluation_results"]:
            card, score = result["metric_config"], result["score_details"]["score"]
            assert float(card["min_score"]) <= score <= float(card["max_score"])


BREAKS: dict[str, Any] = {
    "/schema_version: type": lambda log: log | {"schema_version": 3},
    "/: required": lambda log: {k: v for k, v in log.items() if k != "model_info"},
    "/: additionalProperties": lambda log: log | {"more": 1},
    "/source_metadata/source_type: enum": lambda log: log["source_metadata"].update(source_type="run") or log,
    "/model_info/additional_details/d_sae: type": lambda log: (
        log["model_info"]["additional_details"].update(d_sae=64) or log
    ),
    "/evaluation_results/0/metric_config: required": lambda log: (
        log["evaluation_results"][0]["metric_config"].pop("min_score") and log
    ),
    "/evaluation_results/0/source_data: oneOf": lambda log: (
        log["evaluation_results"][0]["source_data"].update(source_type="own") or log
    ),
}


@pytest.mark.parametrize("wanted", BREAKS)
def test_the_check_sees_what_breaks_the_schema(wanted: str):
    (log,) = logs(exported(), metrics="all").values()
    assert violations(log) == []
    assert violations(BREAKS[wanted](copy.deepcopy(log))) == [wanted]


def test_figures_are_those_of_the_records():
    table = np.linspace(0.6, 0.8, 24).reshape(12, 2)
    scores = {"accuracy_k1_mean": table, "accuracy_k5_mean": table + 0.1}
    records = [of_task("mine", "sparse_probing", scores, date="2025-01-02T00:00:00Z")]
    (r,) = records
    (log,) = logs(records, metrics="all").values()
    assert {x["metric_config"]["metric_name"] for x in log["evaluation_results"]} == set(r.scores)
    for result in log["evaluation_results"]:
        score = r.scores[result["metric_config"]["metric_name"]]
        assert result["score_details"]["score"] == score.value
        uncertainty = result["score_details"]["uncertainty"]
        assert uncertainty["num_samples"] == score.n
        interval = {"lower": score.low, "upper": score.high, "confidence_level": 0.95, "method": "over units"}
        assert uncertainty.get("confidence_interval", interval) == interval
        assert result["evaluation_result_id"].startswith(r.digest)
        assert result["score_details"]["details"]["seeds"] == "[7, 8]"
    assert any("confidence_interval" in x["score_details"]["uncertainty"] for x in log["evaluation_results"])
    assert log["retrieved_timestamp"] == "1735776000"  # 2025-01-02
    details = log["model_info"]["additional_details"]
    assert (details["language_model"], details["hook"], details["d_sae"]) == ("m", "h", "64")


def test_direction_and_bounds_are_those_of_the_card():
    base = exported()[0]
    record = declared(
        base,
        accuracy_k1_mean={"better": "lower", "lower_bound": 0.0, "unit": "nats"},
        accuracy_k5_mean={"better": "one"},
        accuracy_k5_max={"better": "neither"},
    )
    (log,) = logs([record], metrics="all").values()
    (result,) = log["evaluation_results"]  # the schema cannot say that 1 is best, or that nothing is
    card = result["metric_config"]
    assert (card["lower_is_better"], card["min_score"], card["max_score"]) == (True, 0.0, "Infinity")
    assert card["metric_unit"] == "nats"
    assert violations(log) == []
    undirected = declared(base, **{m: {"better": "neither"} for m in base.scores})
    assert eee_results([undirected], "all") == {}


def test_one_file_an_sae_and_site_and_the_newest_record_counts():
    old = dataclasses.replace(exported()[0], seeds=[7, 8])
    new = exported()[0]
    assert new.provenance is not None
    new = dataclasses.replace(new, provenance=dataclasses.replace(new.provenance, date="2026-01-01T00:00:00Z"))
    first = logs([old, new, *exported(hook="h2"), *exported("other")], metrics="all")
    assert len(first) == 3
    assert first == logs([*exported("other"), *exported(hook="h2"), new, old], metrics="all")
    ids = [x["evaluation_result_id"] for log in first.values() for x in log["evaluation_results"]]
    assert len(ids) == len(set(ids))
    assert len({log["evaluation_id"] for log in first.values()}) == 3


def test_an_sae_from_the_hub_keeps_its_address():
    record = exported()[0]
    meta = {"repo": "google/gemma-scope-2b", "id": "layer_20/width_16k", "revision": "abc"}
    subject = dataclasses.replace(record.subject, meta=meta)
    (log,) = logs([dataclasses.replace(record, subject=subject)], metrics="all").values()
    assert log["model_info"]["id"] == "google/gemma-scope-2b_layer_20_width_16k"
    assert log["model_info"]["additional_details"]["model_availability"] == "open_weights"
    assert log["model_info"]["additional_details"]["revision"] == "abc"


@pytest.mark.parametrize("name", ["=a,\n$b", "../../x", "a\udcff", "...", "<b>é</b>"])
def test_any_name_is_a_valid_file_in_its_place(name: str, tmp_path: Path):
    (path,) = export(exported(name), "eee", tmp_path, "all")
    assert re.fullmatch(PATH, path.relative_to(tmp_path).as_posix())
    assert path.is_file()
    assert path.resolve().is_relative_to(tmp_path.resolve())
    assert violations(json.loads(path.read_text())) == []


def test_baselines_alone_get_one_sentence(tmp_path: Path):
    with pytest.raises(SaebenchError, match=r"^no record of an SAE has scores that format eee can hold$"):
        export(exported()[-1:], "eee", tmp_path / "out")
    assert not (tmp_path / "out").exists()
