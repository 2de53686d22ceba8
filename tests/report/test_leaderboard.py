"""Tables from made-up records: arrows, missing cells, reasons, versions, variants, formats."""

import csv
import dataclasses
import io
import json
import subprocess
import sys

import numpy as np
import pytest

from saebench_lite.errors import SaebenchError
from saebench_lite.records.metric import Better
from saebench_lite.records.record import read_all
from saebench_lite.records.verdicts import Verdicts
from saebench_lite.report.leaderboard import leaderboard_text, tables
from saebench_lite.report.numbers import figure
from tests.helpers.leaderboard_records import cells, record, tables_of
from tests.helpers.record_factory import data_info, made_up, site
from tests.test_readme import ROOT


def test_best_first_with_arrows_marks_and_intervals():
    text = leaderboard_text(
        [record("a", value=0.7), record("b", value=0.9, kind="baseline"), record("c", value=0.8, kind="control")]
    )
    assert cells(text) == [
        ["subject", "sparse_probing auroc ↑"],
        ["b (b)", "0.900 [0.850, 0.950]"],
        ["c (c)", "0.800 [0.750, 0.850]"],
        ["a", "0.700 [0.650, 0.750]"],
    ]


def test_lower_is_better_sorts_the_other_way():
    text = leaderboard_text(
        [record("a", "ce_delta", metric="delta", value=0.2), record("b", "ce_delta", metric="delta", value=0.1)]
    )
    assert [row[0] for row in cells(text)] == ["subject", "b", "a"]
    assert cells(text)[0][1] == "ce_delta delta ↓"


def test_missing_failed_and_not_applicable_are_told_apart():
    gone = record("b", value=None, status="failed", reason="it broke")
    cannot = record("c", value=None, status="not_applicable", reason="no labels")
    text = leaderboard_text([record("a"), gone, cannot, record("d", "ce_delta", metric="delta")])
    rows = {row[0]: row[1:] for row in cells(text)[1:]}
    assert rows["a"] == ["0.800 [0.750, 0.850]", "–"]  # the task that ranks comes first
    assert rows["b"][0] == "failed (1)"
    assert rows["c"][0] == "n/a (2)"
    assert "(1) sparse_probing: it broke" in text
    assert "(2) sparse_probing: no labels" in text


def test_versions_are_never_mixed():
    text = leaderboard_text([record("a", version=1, value=0.99), record("b", version=2)])
    assert [row[0] for row in cells(text)] == ["subject", "b"]
    assert "sparse_probing version 1 is older than 2 and not shown" in text


def test_settings_and_seeds_get_columns_of_their_own():
    (table,) = tables_of([record("a"), record("a", settings={"ks": [1]}, value=0.6), record("b")])
    assert len(table.columns) == 2
    assert len({c.variant for c in table.columns}) == 2


def test_sites_and_data_get_tables_of_their_own():
    other = record("a", site=site(hook="h2"))
    data = record("a", data=data_info("1"))
    assert len(tables_of([record("a"), other, data])) == 3


def test_a_metric_that_no_audit_has_seen_is_called_unaudited():
    text = leaderboard_text([record("a"), record("a", "absorption", metric="delta")])
    assert "Unaudited, for no audit has seen this version of them: absorption delta, sparse_probing auroc." in text
    row, _ = json.loads(leaderboard_text([record("a", "ce_delta"), record("a", "truth", metric="auroc")], "json"))
    assert (row["metric"], row["verdict"]) == ("auroc", "unaudited")


def test_saes_of_the_twin_with_random_weights_are_controls_of_the_model():
    twin = site(model="random:m", weights="0")
    units = np.linspace(0.6, 0.8, 12)[:, None].repeat(3, 1)
    ours = [made_up("a", {"auroc": units}), made_up("b", {"auroc": units + 0.1}, kind="baseline")]
    theirs = [made_up("a", {"auroc": units - 0.1}), made_up("b", {"auroc": units}, kind="baseline")]
    model = ours[0].site.model
    theirs = [dataclasses.replace(r, site=twin) for r in theirs]
    own, other = tables_of([*ours, *theirs])
    assert [name for name, _ in own.rows] == ["b", "a", "a on random weights"]
    assert dict(own.rows)["a on random weights"] == "control"
    assert own.ranking is not None
    found = own.rankings[own.ranking]
    assert found.control == "a on random weights"
    assert found.of["a"].calibrated is not None
    assert found.of["a"].calibrated[0] == pytest.approx(0.5)
    assert own.remarks == [f"`on random weights`: an SAE of random:{model}, scored on that model's own activations"]
    assert [name for name, _ in other.rows] == ["b", "a"]
    rows = {r["subject"]: r for r in json.loads(leaderboard_text([*ours, *theirs], "json")) if r["model"] == model}
    assert rows["a on random weights"]["record"] == theirs[0].digest
    (alone,) = tables_of([record("a", site=twin)])
    assert [name for name, _ in alone.rows] == ["a"]
    elsewhere = record("a", site=dataclasses.replace(twin, hook="another"))
    assert [len(t.rows) for t in tables_of([record("a"), elsewhere])] == [1, 1]


def test_order_of_records_does_not_matter():
    records = [record("a"), record("b", value=0.8), record("c", "ce_delta", metric="delta")]
    assert leaderboard_text(records) == leaderboard_text(records[::-1])


def test_long_formats():
    records = [record("a"), record("b", value=None, status="failed", reason="broke")]
    rows = list(csv.DictReader(io.StringIO(leaderboard_text(records, "csv"))))
    assert [(r["subject"], r["metric"], r["value"], r["status"]) for r in rows] == [
        ("a", "auroc", "0.8", "ok"),
        ("b", "", "", "failed"),
    ]
    assert json.loads(leaderboard_text(records, "json"))[1]["reason"] == "broke"
    latex = leaderboard_text([record("a_b")], "latex")
    assert r"a\_b" in latex
    assert r"\toprule" in latex


def test_public_name_survives_the_import_of_every_module():
    import importlib
    import pkgutil

    import saebench_lite as sb

    for module in pkgutil.iter_modules(sb.__path__):
        assert module.name not in sb.__all__, f"module {module.name} would hide saebench_lite.{module.name}"
    importlib.import_module("saebench_lite.report.leaderboard")
    assert callable(sb.leaderboard)


def test_bad_requests():
    with pytest.raises(SaebenchError, match="no records"):
        leaderboard_text([])
    with pytest.raises(SaebenchError, match="'xml' is not known"):
        leaderboard_text([record()], "xml")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "text"), [(0.12345, "0.123"), (-0.0001, "0.000"), (123.456, "123.5"), (99.9, "99.900")]
)
def test_figures(value, text):
    assert figure(value) == text


def test_latex_knows_every_character_of_the_table():
    text = leaderboard_text([record("a"), record("b", "absorption", metric="delta")], "latex")
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert body.isascii()
    assert r"\ensuremath{\uparrow}" in body
    assert r"% needs \usepackage{booktabs}" in text


def test_notes_on_a_permuted_decoder_and_on_failed_rows():
    control = made_up("permuted_decoder of a", {"auroc": np.full((3, 1), 0.7)}, kind="control", seeds=(1,))
    assert "permuted_decoder keeps its SAE's encoder" in leaderboard_text([record("a"), control])
    assert "permuted_decoder keeps" not in leaderboard_text([record("a")])
    ok = record("b")
    nothing = {"task": dataclasses.replace(ok.task, metrics={}), "scores": {}, "per_unit": {}}
    failed = dataclasses.replace(ok, status="failed", reason="no", **nothing)
    assert "saebench-lite records rm FOLDER --failed" in leaderboard_text([record("a"), failed])
    assert "records rm" not in leaderboard_text([record("a")])


def test_verdicts_are_an_argument():
    missing = Verdicts({("sparse_probing", 1, "auroc"): "misses"})
    text = leaderboard_text([record("a")], verdicts=missing)
    assert "Not for ranking, for by the audit they miss what they claim to measure: sparse_probing auroc." in text
    undecided = Verdicts({("sparse_probing", 1, "auroc"): "open"})
    text = leaderboard_text([record("a")], verdicts=undecided)
    assert "Open, for the audit leaves open whether they follow" in text
    assert "claim to measure: sparse_probing auroc." in text
    passing = Verdicts({("sparse_probing", 1, "auroc"): "passes"})
    text = leaderboard_text([record("a")], verdicts=passing)
    assert "No headline" not in text
    assert "Not for ranking" not in text
    assert "Unaudited" not in text
    assert json.loads(leaderboard_text([record("a")], "json", verdicts=passing))[0]["verdict"] == "passes"


def test_all_metrics_are_those_scored_in_any_record_whatever_the_order():
    records = [record("a"), record("b", metric="delta"), record("c", value=None, status="failed", reason="broke")]
    text = leaderboard_text(records, metrics="all")
    assert text == leaderboard_text(records[::-1], metrics="all")
    rows = {row[0]: row[1:] for row in cells(text)}
    assert rows["subject"] == ["sparse_probing auroc ↑", "sparse_probing delta ↓"]
    assert rows["c"] == ["failed (1)", "failed (1)"]
    assert rows["b"][0] == "–"


def test_a_task_of_which_nothing_was_scored_shows_its_reasons():
    text = leaderboard_text([record("a", value=None, status="failed", reason="it broke")])
    assert "failed (1)" in text
    assert "(1) sparse_probing: it broke" in text


@pytest.mark.parametrize("folder", ["pico", "smollm2-axbench"])
def test_csv_holds_what_json_holds(folder):
    """Every number with all its digits, whole numbers without a point, nothing where there is no value."""
    records, _ = read_all(ROOT / "results" / folder)
    rows = json.loads(leaderboard_text(records, "json"))
    text = leaderboard_text(records, "csv")
    assert list(csv.DictReader(io.StringIO(text))) == [
        {k: "" if v is None else str(v) for k, v in row.items()} for row in rows
    ]


def test_no_pandas_for_a_table():
    code = (
        "import sys; from saebench_lite.records.record import read_all; from saebench_lite.report.leaderboard import"
        " leaderboard_text; from pathlib import Path; leaderboard_text(read_all(Path(sys.argv[1]))[0], 'csv');"
        " assert not {'pandas', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(ROOT / "results" / "smollm2-axbench")], check=True)


def test_a_headline_that_misses_is_no_column_while_another_stays():
    values = {m: np.full((3, 1), 0.7) for m in ("auroc", "f1")}
    metrics: dict[str, Better] = {"auroc": "higher", "f1": "higher"}
    both = made_up("a", values, metrics=metrics, headline=["auroc", "f1"], seeds=(42,))
    missing = Verdicts({("sparse_probing", 1, "auroc"): "misses"})
    head = next(
        line for line in leaderboard_text([both], verdicts=missing).splitlines() if line.startswith("| subject")
    )
    assert "sparse_probing f1" in head
    assert "auroc" not in head
    assert "off the headline" in leaderboard_text([both], verdicts=missing)
    assert "sparse_probing auroc" in leaderboard_text([both], verdicts=missing, metrics="all")
    assert "off the headline" not in leaderboard_text([both], verdicts=missing, metrics="all")
    none = Verdicts({("sparse_probing", 1, m): "misses" for m in ("auroc", "f1")})
    assert "sparse_probing auroc ↑ | sparse_probing f1" in " ".join(leaderboard_text([both], verdicts=none).split())


def test_metrics_beside_the_headline_are_columns_after_it_and_do_not_rank():
    values = {"auroc": np.linspace(0.2, 0.4, 40)[:, None], "accuracy": np.linspace(0.6, 0.8, 40)[:, None]}
    metrics: dict[str, Better] = {"auroc": "higher", "accuracy": "higher"}
    worse = {"auroc": values["auroc"] - 0.1, "accuracy": values["accuracy"] + 0.1}
    rows = [
        made_up(name, table, metrics=metrics, headline=["accuracy"], beside=("auroc",), seeds=(42,))
        for name, table in (("first", values), ("second", worse))
    ]
    (table,) = tables(rows, Verdicts({}))
    assert [c.metric for c in table.columns] == ["accuracy", "auroc"]
    assert table.ranking == table.columns[0]
    assert [name for name, _ in table.rows] == ["second", "first"]
    bare = [made_up("a", {}, headline=["accuracy"], beside=("auroc",), status="failed")]
    assert [c.metric for c in tables(bare, Verdicts({}))[0].columns] == ["accuracy", "auroc"]
