"""The quiver of arrows on records made by hand."""

import dataclasses
import json

import pytest
from typer.testing import CliRunner

from saebench_lite.cli.main import app
from saebench_lite.errors import SaebenchError
from saebench_lite.records.record import Record
from saebench_lite.records.types import Kind
from saebench_lite.report.quiver import EVERY, quivers, to_text
from tests.helpers.record_factory import data_info, made_up, provenance

DATASETS = tuple("abcdefghijkl")


def record(name: str, kind: Kind, points: dict[str, list[tuple[float, float]]], regime: str = "normal", **more):
    """points: k -> (test, validation) AUROC of four datasets, which all others repeat in turn."""
    table = {
        dataset: {"42": [[512.0, {k: list(values[i % 4]) for k, values in points.items()}]]}
        for i, dataset in enumerate(DATASETS)
    }
    made = made_up(name, task="probing_regimes", kind=kind, seeds=(42,), **more)
    return dataclasses.replace(made, diagnostics={"points": {regime: table}})


def points_of(r: Record) -> dict[str, dict]:
    points = r.diagnostics["points"]
    assert isinstance(points, dict)
    return points


def by_hand():
    """Baselines alone score .6 .7 .7 .8; the SAE is picked on a (gains .1) and b (loses .2), and ties on d."""
    first = record("first", "baseline", {"k16": [(0.6, 0.6), (0.7, 0.7), (0.5, 0.5), (0.8, 0.8)]})
    second = record("second", "baseline", {"k16": [(0.9, 0.5), (0.1, 0.2), (0.7, 0.6), (0.2, 0.1)]})
    sae = {
        "k16": [(0.7, 0.9), (0.2, 0.3), (0.9, 0.1), (0.6, 0.8)],
        "k128": [(0.1, 0.1), (0.5, 0.8), (0.9, 0.2), (0.1, 0.1)],
    }
    return [first, second, record("mine", "sae", sae)]


def test_known_answer():
    (found,) = quivers(by_hand())
    (row,) = found.rows
    assert (row.subject, row.regime) == ("mine", "normal")
    assert row.without == pytest.approx((0.6 + 0.7 + 0.7 + 0.8) / 4)
    assert row.joined == pytest.approx((0.7 + 0.5 + 0.7 + 0.7) / 4)  # a tie in validation shares the test scores
    assert row.gain.value == pytest.approx((0.1 - 0.2 + 0.0 - 0.1) / 4)
    assert (row.wins, row.ties, row.losses) == (3, 3, 6)
    assert row.win_rate.value == pytest.approx((1 + 0.5) / 4)
    assert row.win_rate.low is not None
    assert 0 <= row.win_rate.low < row.win_rate.value
    assert row.chosen == pytest.approx((1 + 1 + 0 + 0.5) / 4)
    assert row.gain.low is not None
    assert row.gain.high is not None
    assert row.gain.low < row.gain.value < row.gain.high
    assert found.picks == pytest.approx({"first": 0.75, "second": 0.25})


def test_an_arrow_never_picked_changes_nothing():
    records = by_hand()[:2]
    useless = record("useless", "control", {"k16": [(0.99, 0.01)] * 4})
    (row,) = quivers([*records, useless])[0].rows
    assert (row.wins, row.ties, row.losses, row.chosen) == (0, 12, 0, 0.0)
    assert (row.gain.value, row.gain.low, row.gain.high) == (0.0, 0.0, 0.0)
    assert row.win_rate.value == 0.5


def test_levels_without_validation_are_left_out_and_levels_are_averaged():
    records = by_hand()
    for points in map(points_of, records):
        for seeds in points["normal"].values():
            _, by_k = seeds["42"][0]
            seeds["42"].append([2.0, {k: [0.0, None] for k in by_k}])
    assert quivers(records)[0].rows == quivers(by_hand())[0].rows
    for points in map(points_of, records):
        for seeds in points["normal"].values():
            seeds["42"][1] = [128.0, {k: [0.4, 0.5] for k in seeds["42"][0][1]}]
    assert quivers(records)[0].rows[0].gain.value == pytest.approx(-0.05 / 2)


def test_regimes_stand_in_the_order_of_the_task():
    records = by_hand()
    for r in records:
        r.diagnostics["points"] = dict.fromkeys(("imbalance", "scarcity", "normal"), points_of(r)["normal"])
    assert [row.regime for row in quivers(records)[0].rows] == ["normal", "scarcity", "imbalance"]


def test_several_saes_also_join_together():
    best = record("other", "sae", {"k16": [(1.0, 0.99)] * 4})
    rows = {r.subject: r for r in quivers([*by_hand(), best])[0].rows}
    assert set(rows) == {EVERY, "mine", "other"}
    assert rows[EVERY].joined == 1.0


def test_sites_and_settings_stay_apart_and_the_newest_record_counts():
    other = [dataclasses.replace(r, data=data_info("x", "x")) for r in by_hand()]
    assert [q.title.endswith("data x") for q in quivers([*by_hand(), *other])] == [False, True]
    old, new = (dataclasses.replace(by_hand()[0], provenance=provenance(date)) for date in ("2020", "2021"))
    old.diagnostics["points"] = {}
    assert quivers([new, old, *by_hand()[1:]])[0].rows == quivers(by_hand())[0].rows


def test_fewer_than_twelve_datasets_have_no_interval(monkeypatch):
    assert "none over fewer" not in to_text(quivers(by_hand()))
    monkeypatch.setattr("tests.report.test_quiver.DATASETS", DATASETS[:11])
    (found,) = quivers(by_hand())
    (row,) = found.rows
    assert [row.gain.low, row.gain.high, row.win_rate.low, row.win_rate.high] == [None] * 4
    assert "[95 % interval] over datasets,\nnone over fewer than 12,\nties half" in to_text([found])


def test_missing_records_are_one_sentence():
    with pytest.raises(SaebenchError, match="there are no records of probing_regimes"):
        quivers([made_up("a")])
    with pytest.raises(SaebenchError, match="no records of baselines for probing_regimes"):
        quivers(by_hand()[2:])
    with pytest.raises(SaebenchError, match="no records of SAEs for probing_regimes"):
        quivers(by_hand()[:2])
    with pytest.raises(SaebenchError, match="'csv' is unknown; choose md or json"):
        to_text(quivers(by_hand()), "csv")  # type: ignore[arg-type]


def test_command_prints_markdown_and_json(tmp_path):
    for r in by_hand():
        r.save(tmp_path)
    shown = CliRunner().invoke(app, ["quiver", str(tmp_path)])
    assert "| mine " in shown.output
    assert "3–3–6" in shown.output
    assert "first 75 %" in shown.output
    listed = json.loads(CliRunner().invoke(app, ["quiver", str(tmp_path), "--format", "json"]).output)
    assert listed[0]["rows"][0]["gain"]["value"] == pytest.approx(-0.05)
    CliRunner().invoke(app, ["quiver", str(tmp_path), "--out", str(tmp_path / "quiver.md")])
    assert (tmp_path / "quiver.md").read_text().startswith("### m · h")


def test_malformed_points_are_one_sentence():
    odd = dataclasses.replace(
        by_hand()[2], diagnostics={"points": {"normal": {"a": {"42": [[512.0, {"k16": [0.7]}]]}}}}
    )
    with pytest.raises(
        SaebenchError, match=r"of 'mine': diagnostics\.points\.normal\.a\.42\[0\]\[1\]\.k16 is \[0\.7\], not"
    ):
        quivers([*by_hand()[:2], odd])
