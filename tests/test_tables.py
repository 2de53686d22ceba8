"""Tables from made-up records: arrows, missing cells, reasons, versions, variants, formats."""

import csv
import dataclasses
import io
import json

import pytest

from saebench_lite.errors import SaebenchError
from saebench_lite.record import Record
from saebench_lite.render import figure
from saebench_lite.tables import leaderboard, tables

METRICS = {"auroc": {"better": "higher"}, "delta": {"better": "lower"}, "l0": {"better": "neither"}}


def record(
    subject="a", task="sparse_probing", version=1, kind="sae", metric="auroc", value: float | None = 0.8, **kwargs
) -> Record:
    score = {
        "value": value,
        "low": None if value is None else value - 0.05,
        "high": None if value is None else value + 0.05,
    }
    base = Record(
        task={"name": task, "version": version, "package": "p", "headline": [metric, "l0"], "metrics": METRICS},
        subject={"name": subject, "kind": kind, "fingerprint": subject, "meta": {}},
        site={"model": "m", "hook": "h", "dtype": "float32"},
        data={"name": "d", "digest": "0"},
        settings={},
        seeds=[42],
        status="ok",
        scores={} if value is None else {metric: score | {"n": 3, "per_seed": [value]}},
    )
    return dataclasses.replace(base, **kwargs)


def cells(text: str) -> list[list[str]]:
    return [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")]


def test_best_first_with_arrows_marks_and_intervals():
    text = leaderboard(
        [record("a", value=0.7), record("b", value=0.9, kind="baseline"), record("c", value=0.8, kind="control")]
    )
    assert cells(text) == [
        ["subject", "sparse_probing auroc ↑"],
        ["b (b)", "0.900 [0.850, 0.950]"],
        ["c (c)", "0.800 [0.750, 0.850]"],
        ["a", "0.700 [0.650, 0.750]"],
    ]


def test_lower_is_better_sorts_the_other_way():
    text = leaderboard(
        [record("a", "ce_delta", metric="delta", value=0.2), record("b", "ce_delta", metric="delta", value=0.1)]
    )
    assert [row[0] for row in cells(text)] == ["subject", "b", "a"]
    assert cells(text)[0][1] == "ce_delta delta ↓"


def test_missing_failed_and_not_applicable_are_told_apart():
    gone = record("b", value=None, status="failed", reason="it broke")
    cannot = record("c", value=None, status="not_applicable", reason="no labels")
    text = leaderboard([record("a"), gone, cannot, record("d", "ce_delta", metric="delta")])
    rows = {row[0]: row[1:] for row in cells(text)[1:]}
    assert rows["a"] == ["–", "0.800 [0.750, 0.850]"]
    assert rows["b"][1] == "failed (1)"
    assert rows["c"][1] == "n/a (2)"
    assert "(1) sparse_probing: it broke" in text
    assert "(2) sparse_probing: no labels" in text


def test_versions_are_never_mixed():
    text = leaderboard([record("a", version=1, value=0.99), record("b", version=2)])
    assert [row[0] for row in cells(text)] == ["subject", "b"]
    assert "sparse_probing version 1 is older than 2 and not shown" in text


def test_settings_and_seeds_get_columns_of_their_own():
    (table,) = tables([record("a"), record("a", settings={"ks": [1]}, value=0.6), record("b")])
    assert len(table.columns) == 2
    assert len({c.variant for c in table.columns}) == 2


def test_sites_and_data_get_tables_of_their_own():
    other = record("a", site={"model": "m", "hook": "h2", "dtype": "float32"})
    data = record("a", data={"name": "d", "digest": "1"})
    assert len(tables([record("a"), other, data])) == 3


def test_order_of_records_does_not_matter():
    records = [record("a"), record("b", value=0.8), record("c", "ce_delta", metric="delta")]
    assert leaderboard(records) == leaderboard(records[::-1])


def test_long_formats():
    records = [record("a"), record("b", value=None, status="failed", reason="broke")]
    rows = list(csv.DictReader(io.StringIO(leaderboard(records, "csv"))))
    assert [(r["subject"], r["metric"], r["value"], r["status"]) for r in rows] == [
        ("a", "auroc", "0.8", "ok"),
        ("b", "", "", "failed"),
    ]
    assert json.loads(leaderboard(records, "json"))[1]["reason"] == "broke"
    latex = leaderboard([record("a_b")], "latex")
    assert r"a\_b" in latex
    assert r"\toprule" in latex


def test_public_name_survives_the_import_of_every_module():
    import importlib
    import pkgutil

    import saebench_lite as sb

    for module in pkgutil.iter_modules(sb.__path__):
        assert module.name not in sb.__all__, f"module {module.name} would hide saebench_lite.{module.name}"
    importlib.import_module("saebench_lite.tables")
    assert callable(sb.leaderboard)


def test_bad_requests():
    with pytest.raises(SaebenchError, match="no records"):
        leaderboard([])
    with pytest.raises(SaebenchError, match="'xml' is not known"):
        leaderboard([record()], "xml")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "text"), [(0.12345, "0.123"), (-0.0001, "0.000"), (123.456, "123.5"), (99.9, "99.900")]
)
def test_figures(value, text):
    assert figure(value) == text
