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
from saebench_lite.records.record import Record, read_all
from saebench_lite.records.types import Kind, MetricScore
from saebench_lite.records.verdicts import Verdicts, shipped_verdicts
from saebench_lite.report.leaderboard import leaderboard, tables
from saebench_lite.report.numbers import figure
from saebench_lite.report.table import Table
from saebench_lite.stats.reseed_noise import reseed_noise
from tests.helpers.record_factory import data_info, made_up, provenance, site
from tests.test_readme import ROOT

UNITS = np.random.default_rng(2).random((12, 1))


def record(
    subject: str = "a",
    task="sparse_probing",
    version=1,
    kind: Kind = "sae",
    metric="auroc",
    value: float | None = 0.8,
    **changes,
) -> Record:
    """A score with an interval of .05 to each side, without unit values."""
    values = {} if value is None else {metric: np.array([[value]])}
    made = made_up(subject, values, task=task, version=version, kind=kind, seeds=(42,), headline=[metric, "l0"])
    if value is not None:
        changes["scores"] = {
            metric: MetricScore(value=value, low=value - 0.05, high=value + 0.05, n=3, per_seed=[value])
        }
    return dataclasses.replace(made, per_unit={}, **changes)


def tables_of(records: list[Record]) -> list[Table]:
    return tables(records, shipped_verdicts())


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
    assert rows["a"] == ["0.800 [0.750, 0.850]", "–"]  # the task that ranks comes first
    assert rows["b"][0] == "failed (1)"
    assert rows["c"][0] == "n/a (2)"
    assert "(1) sparse_probing: it broke" in text
    assert "(2) sparse_probing: no labels" in text


def test_versions_are_never_mixed():
    text = leaderboard([record("a", version=1, value=0.99), record("b", version=2)])
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
    text = leaderboard([record("a"), record("a", "absorption", metric="delta")])
    assert "Unaudited, for no audit has seen this version of them: absorption delta, sparse_probing auroc." in text
    row, _ = json.loads(leaderboard([record("a", "ce_delta"), record("a", "truth", metric="auroc")], "json"))
    assert (row["metric"], row["verdict"]) == ("auroc", "unaudited")


def test_saes_of_the_twin_with_random_weights_are_controls_of_the_model():
    twin = site(model="random:m", weights="0")
    units = np.array([[0.6], [0.7], [0.8]]).repeat(3, 1)
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
    rows = {r["subject"]: r for r in json.loads(leaderboard([*ours, *theirs], "json")) if r["model"] == model}
    assert rows["a on random weights"]["record"] == theirs[0].digest
    (alone,) = tables_of([record("a", site=twin)])
    assert [name for name, _ in alone.rows] == ["a"]
    elsewhere = record("a", site=dataclasses.replace(twin, hook="another"))
    assert [len(t.rows) for t in tables_of([record("a"), elsewhere])] == [1, 1]


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
    importlib.import_module("saebench_lite.report.leaderboard")
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


def probing_table(units: int = 40) -> list[Record]:
    """A baseline far ahead, two SAEs alike, one behind them, a control at the end; three seeds."""
    draw = np.random.default_rng(0)
    unit = draw.normal(0.5, 0.05, size=(units, 1))
    level: dict[str, tuple[float, Kind]] = {
        "top": (0.3, "baseline"),
        "a": (0.2, "sae"),
        "b": (0.2, "sae"),
        "c": (0.1, "sae"),
        "low": (0.0, "control"),
    }
    return [
        made_up(n, {"auroc": unit + m + 0.01 * draw.normal(size=(units, 3))}, kind=k) for n, (m, k) in level.items()
    ]


def test_ranks_are_among_saes_and_what_cannot_be_separated_shares_one():
    text = leaderboard(probing_table())
    rows = {row[0]: row[1:] for row in cells(text)}
    assert rows["subject"] == ["control", "rank", "better than", "sparse_probing auroc ↑", "calibrated"]
    assert {n: rows[n][:3] for n in ("a", "b", "c")} == {
        "a": ["+", "1–2, tied with best", "1"],
        "b": ["+", "1–2, tied with best", "1"],
        "c": ["+", "3", ""],
    }
    assert rows["top (b)"][:3] == ["", "above all SAEs", ""]
    assert rows["low (c)"][:3] == ["", "below all SAEs", ""]
    assert "Rank: among the 3 SAEs by sparse_probing auroc, a 95 % interval for each row by itself" in text
    assert "else the best control of the table (low)" in text
    assert "No ranks" not in text
    assert "(low), 1 the best baseline (top)" in text
    assert rows["low (c)"][4] == "0.000 [0.000, 0.000]"
    assert float(rows["a"][4].split()[0]) == pytest.approx(2 / 3, abs=0.05)


def test_a_single_best_is_not_called_tied():
    records = [r for r in probing_table() if r.subject.name != "b"]
    rows = {row[0]: row[1:] for row in cells(leaderboard(records))}
    assert [rows[n][1] for n in ("a", "c")] == ["1", "2"]


def test_an_sae_is_tested_against_its_own_matched_control():
    """`random_topk` is above all SAEs, the control matched to `b` below it: a mark for `b` alone."""
    draw = np.random.default_rng(1)
    saes = [r for r in probing_table() if r.subject.kind == "sae"]
    for name, level in (("random_topk", 0.9), ("matched_random of b", 0.5), ("another", 2.0)):
        values = level + 0.05 * draw.normal(size=(40, 3))
        saes.append(made_up(name, {"auroc": values}, kind="control"))
    rows = {r["subject"]: r for r in json.loads(leaderboard(saes, "json"))}
    assert [(rows[n]["control"], rows[n]["above_control"]) for n in ("a", "b", "another")] == [
        ("random_topk", 0),
        ("matched_random of b", 1),
        (None, None),
    ]
    assert "else the best control of the table (random_topk)" in leaderboard(saes)


def test_twins_of_an_sae_are_neither_ranked_twice_nor_controls():
    records = probing_table()
    clone = dataclasses.replace(records[1].subject, name="permuted_decoder of a", kind="control")
    again = dataclasses.replace(records[1].subject, name="z")
    plain = {r["subject"]: r for r in json.loads(leaderboard(records, "json"))}
    more = [*records, *(dataclasses.replace(records[1], subject=s) for s in (clone, again))]
    rows = {r["subject"]: r for r in json.loads(leaderboard(more, "json"))}
    for name in ("a", "b", "c"):
        assert rows[name] | {"mrd": 0} == plain[name] | {"mrd": 0}  # the noise is pooled over one more
    assert (rows["z"]["rank_low"], rows["z"]["rank_high"]) == (rows["a"]["rank_low"], rows["a"]["rank_high"])
    assert rows["permuted_decoder of a"]["rank_low"] is None


def test_few_and_alike_units_have_no_interval():
    table = np.zeros((12, 1))
    table[:3, 0] = [0.1, 0.2, 0.3]
    records = [made_up("a", {"auroc": table}, seeds=(1,)), made_up("b", {"auroc": table[:, ::-1] + UNITS}, seeds=(1,))]
    text = leaderboard(records)
    assert {row[0]: row[1] for row in cells(text)}["a"] == "0.050"
    assert "No interval stands where" in text
    assert records[0].scores["auroc"].low is not None
    assert [r["low"] is None for r in json.loads(leaderboard(records, "json"))] == [True, False]


def test_seeds_that_change_no_digit_show_no_noise():
    records = [made_up(n, {"auroc": np.repeat(UNITS + m, 3, 1)}) for n, m in (("a", 0.0), ("b", 0.1))]
    moved = made_up("top", {"auroc": UNITS + 0.2 + 0.01 * np.random.default_rng(0).random((12, 3))}, kind="baseline")
    text = leaderboard([*records, moved])
    assert "12 units, 3 seeds, reseed sd –, CV –, MRD –: seeds change no digit of an SAE's score" in text
    rows = {r["subject"]: r for r in json.loads(leaderboard([*records, moved], "json"))}
    assert [rows["a"][k] for k in ("reseed_sd", "cv", "mrd")] == [None, None, None]
    assert rows["top"]["reseed_sd"] > 0


def test_noise_of_a_metric_stands_below_and_in_the_rows():
    records = probing_table()
    noise = reseed_noise([np.array(r.scores["auroc"].per_seed) for r in records if r.subject.kind == "sae"])
    assert noise is not None
    line = f"sparse_probing auroc: 40 units, 3 seeds, reseed sd {noise.sd:.3f}, CV {100 * noise.cv:.2g} %, MRD"  # type: ignore[operator]
    assert line in leaderboard(records)
    rows = {r["subject"]: r for r in json.loads(leaderboard(records, "json"))}
    assert rows["a"]["mrd"] == pytest.approx(noise.mrd)
    own = np.array(records[1].scores["auroc"].per_seed)
    assert rows["a"]["reseed_sd"] == pytest.approx(own.std(ddof=1))
    assert rows["a"]["cv"] == pytest.approx(own.std(ddof=1) / own.mean())
    assert (rows["a"]["rank_low"], rows["a"]["rank_high"]) == (1, 2)
    assert [rows["a"][k] for k in ("above_control", "tied_with_best", "better_than", "likely_better_than")] == [1] * 4
    assert rows["top"]["rank_low"] is None
    assert rows["a"]["calibrated_low"] < rows["a"]["calibrated"] < rows["a"]["calibrated_high"]
    first = next(csv.DictReader(io.StringIO(leaderboard(records, "csv"))))
    assert (first["subject"], first["rank_low"]) == ("a", "1")


def test_no_scale_where_the_baseline_does_not_beat_the_control():
    records = [r for r in probing_table() if r.subject.name in ("a", "b")]
    turned = [
        dataclasses.replace(r, subject=dataclasses.replace(r.subject, kind=k))
        for r, k in zip(records, ("control", "baseline"), strict=True)
    ]
    worse = dataclasses.replace(turned[1], per_unit=probing_table()[4].per_unit)
    text = leaderboard([turned[0], worse])
    assert "No calibrated auroc: the best baseline (b) is not four standard errors above the best control (a)" in text
    assert json.loads(leaderboard([turned[0], worse], "json"))[0]["calibrated"] is None


def test_unseeded_tasks_have_no_reseed_noise():
    unit = np.random.default_rng(1).random((9, 1))
    records = [made_up(n, {"delta": unit + m}, task="ce_delta", seeds=()) for n, m in (("a", 0.0), ("b", 0.1))]
    text = leaderboard(records)
    assert "ce_delta delta: 9 units, no random numbers drawn" in text
    assert [row[0] for row in cells(text)] == ["subject", "a", "b"]
    assert "No ranks: 9 units are too few to order SAEs (from 30)" in text
    assert json.loads(leaderboard(records, "json"))[0]["mrd"] is None


def test_of_two_records_of_a_subject_only_the_newer_is_ranked():
    old, new = (dataclasses.replace(probing_table()[1], provenance=provenance(d)) for d in ("2024", "2025"))
    old = dataclasses.replace(old, subject=dataclasses.replace(old.subject, fingerprint="before"))
    rows = json.loads(leaderboard([old, new, probing_table()[3]], "json"))
    assert sorted((r["subject"], r["rank_low"]) for r in rows if r["rank_low"]) == [("a", 1), ("c", 2)]
    assert len(rows) == 3


def test_verdicts_are_an_argument():
    missing = Verdicts({("sparse_probing", 1, "auroc"): "misses"})
    text = leaderboard([record("a")], verdicts=missing)
    assert "Not for ranking, for by the audit they miss what they claim to measure: sparse_probing auroc." in text
    passing = Verdicts({("sparse_probing", 1, "auroc"): "passes"})
    text = leaderboard([record("a")], verdicts=passing)
    assert "Not for ranking" not in text
    assert "Unaudited" not in text
    assert json.loads(leaderboard([record("a")], "json", verdicts=passing))[0]["verdict"] == "passes"


def test_all_metrics_are_those_scored_in_any_record_whatever_the_order():
    records = [record("a"), record("b", metric="delta"), record("c", value=None, status="failed", reason="broke")]
    text = leaderboard(records, metrics="all")
    assert text == leaderboard(records[::-1], metrics="all")
    rows = {row[0]: row[1:] for row in cells(text)}
    assert rows["subject"] == ["sparse_probing auroc ↑", "sparse_probing delta ↓"]
    assert rows["c"] == ["failed (1)", "failed (1)"]
    assert rows["b"][0] == "–"


def test_a_task_of_which_nothing_was_scored_shows_its_reasons():
    text = leaderboard([record("a", value=None, status="failed", reason="it broke")])
    assert "failed (1)" in text
    assert "(1) sparse_probing: it broke" in text


@pytest.mark.parametrize("folder", ["pico", "minilm"])
def test_csv_holds_what_json_holds(folder):
    """Every number with all its digits, whole numbers without a point, nothing where there is no value."""
    records, _ = read_all(ROOT / "results" / folder)
    rows = json.loads(leaderboard(records, "json"))
    text = leaderboard(records, "csv")
    assert list(csv.DictReader(io.StringIO(text))) == [
        {k: "" if v is None else str(v) for k, v in row.items()} for row in rows
    ]


def test_no_pandas_for_a_table():
    code = (
        "import sys; from saebench_lite.records.record import read_all; from saebench_lite.report.leaderboard import"
        " leaderboard; from pathlib import Path; leaderboard(read_all(Path(sys.argv[1]))[0], 'csv');"
        " assert not {'pandas', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(ROOT / "results" / "minilm")], check=True)
