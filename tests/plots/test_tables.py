"""The tables behind the figures, against values that the records were made of."""

import dataclasses

import numpy as np
import pytest

from saebench_lite.errors import SaebenchError
from saebench_lite.plots.curve_data import CurveRow, curve_columns, curve_rows, known_curves
from saebench_lite.plots.heat_data import HeatRow, heat_rows
from saebench_lite.plots.scatter_data import ScatterRow, scatter_rows
from saebench_lite.plots.select import find_column, same_as_an_sae, site_tables, spelt, with_column
from saebench_lite.plots.training_data import TrainingRow, training_rows, without_curve
from saebench_lite.records.record import Record
from saebench_lite.report.table import Table
from tests.helpers.plot_records import BASELINES, CURVES, SUBJECTS, plot_records, truth_records
from tests.helpers.record_factory import made_up


def one(records: list[Record]) -> Table:
    (table,) = site_tables(records, None)
    return table


def scattered(records: list[Record], y: str, x: str | None = None, far: bool = False) -> dict[str, ScatterRow]:
    table = one(records)
    column, across = find_column(table, y), None if x is None else find_column(table, x)
    assert column is not None
    return {r.subject: r for r in scatter_rows(table, column, across, far)}


@pytest.fixture(scope="module")
def fidelity() -> dict[str, ScatterRow]:
    return scattered(plot_records(), "reconstruction.explained_variance")


def test_a_point_has_the_values_of_the_records(fidelity: dict[str, ScatterRow]):
    assert set(fidelity) == {name for name, *_ in SUBJECTS}
    for name, kind, architecture, l0, ev, _ in SUBJECTS:
        r = fidelity[name]
        assert (r.kind, r.x_metric, r.y_metric) == (kind, "l0", "reconstruction.explained_variance")
        assert r.group == (architecture if kind == "sae" else name.split(" of ")[0])
        assert r.x == pytest.approx(l0, abs=1e-8)
        assert r.y == pytest.approx(ev, abs=1e-8)
        assert r.d_sae == 64
        record = next(x for x in plot_records() if x.subject.name == name and x.task.name == "reconstruction")
        assert (r.y_low, r.y_high) == (
            record.scores["explained_variance"].low,
            record.scores["explained_variance"].high,
        )
        assert (r.x_low, r.x_high) == (record.scores["l0"].low, record.scores["l0"].high)
        assert (r.x_interval_over, r.y_interval_over) == ("units", "units")


def test_the_front_is_what_no_sae_as_sparse_beats(fidelity: dict[str, ScatterRow]):
    """topk_32 is within 1 % of relu_32's L0 and better; gated_64 is denser and worse than it."""
    assert {n: r.on_front for n, r in fidelity.items() if r.kind == "sae"} == {
        "topk_8": 1, "topk_32": 1, "relu_32": 0, "gated_64": 0,
    }  # fmt: skip
    assert {n: r.dominated for n, r in fidelity.items() if r.kind == "sae"} == {
        "topk_8": 0, "topk_32": 0, "relu_32": 1, "gated_64": 1,
    }  # fmt: skip
    assert {r.on_front for r in fidelity.values() if r.kind != "sae"} == {None}


def test_the_front_turns_with_the_direction():
    """ce_delta = 1 - explained variance, and lower is better."""
    rows = scattered(plot_records(), "ce_delta")
    assert {n for n, r in rows.items() if r.on_front} == {"topk_8", "topk_32"}


def test_an_interval_that_overlaps_dominates_nothing():
    """The front goes by values, `dominated` by tests over units."""
    records = [r for r in plot_records() if r.subject.name in ("topk_32", "gated_64")]
    table = records[3].per_unit["explained_variance"]
    noisy = [[0.89 + (-1) ** i * 0.3] for i in range(len(table.units))]
    scores = dataclasses.replace(records[3].scores["explained_variance"], value=0.89)
    unit = records[3].per_unit | {"explained_variance": dataclasses.replace(table, values=noisy)}
    changed = dataclasses.replace(records[3], per_unit=unit, scores=records[3].scores | {"explained_variance": scores})
    row = scattered([*records[:3], changed], "explained_variance")["gated_64"]
    assert (row.on_front, row.dominated) == (0, 0)


def test_references_beyond_the_scale_are_named_and_not_drawn(fidelity: dict[str, ScatterRow]):
    """SAEs span .6 to .9, so .3 to 1.2 is drawn; without intervals narrower by little."""
    roles = {n: r.role for n, r in fidelity.items() if r.kind != "sae"}
    assert roles == {
        "matched_random of topk_32": "point",
        "random_topk": "beyond the scale",
        "permuted_decoder of topk_32": "beyond the scale",
        "pca": "point",
    }
    every = scattered(plot_records(), "explained_variance", far=True)
    assert {r.role for r in every.values()} == {"point"}


def test_a_baseline_without_l0_is_a_line_and_a_twin_is_not_drawn():
    rows = scattered(plot_records(), "auroc_k1_mean")
    assert {rows[name].role for name in BASELINES} == {"line"}
    assert rows["permuted_decoder of topk_32"].role == "same as its SAE"
    assert {rows[n].role for n, kind, *_ in SUBJECTS if kind == "sae"} == {"point"}


def test_an_sae_without_l0_is_left_out():
    records = [r for r in plot_records() if (r.subject.name, r.task.name) != ("topk_8", "reconstruction")]
    assert scattered(records, "auroc_k1_mean")["topk_8"].role == "no x"


def test_a_metric_against_the_truth():
    rows = scattered(truth_records(), "sparse_probing.auroc_k1_mean", "truth.feature_ap")
    for name, _, _, _, ev, auroc in SUBJECTS:
        assert rows[name].x == pytest.approx(ev, abs=1e-8)
        assert rows[name].y == pytest.approx(auroc, abs=1e-8)
        assert rows[name].dominated is None
    assert rows["logistic"].role == "line"


def curve(records: list[Record], metric: str = "auroc", pooling: str = "mean") -> list[CurveRow]:
    table = one(records)
    return curve_rows(table, curve_columns(table, metric, pooling))


def test_a_curve_has_a_row_a_subject_and_k():
    rows = curve(plot_records())
    assert {(r.subject, r.k): round(r.value, 6) for r in rows} == {
        (name, k): round(auroc + 0.05 * (k == 5), 6) for name, *_, auroc in SUBJECTS for k in (1, 5)
    } | {(name, k): auroc for name, auroc in BASELINES.items() for k in (1, 5)}
    assert all(r.low is not None and r.high is not None and r.low <= r.value <= r.high for r in rows)
    assert {r.interval_over for r in rows} == {"units"}
    assert {r.subject: r.role for r in rows if r.kind != "sae"} == {
        "matched_random of topk_32": "band",
        "random_topk": "band",
        "permuted_decoder of topk_32": "same as its SAE",
        "pca": "curve",
        "logistic": "line",
        "diff_in_means": "line",
    }
    assert [r.l0 for r in rows if r.subject == "topk_32"] == [pytest.approx(32)] * 2


def test_poolings_are_apart_and_listed():
    rows = curve(plot_records(), pooling="max")
    assert {r.metric for r in rows} == {"sparse_probing.auroc_k1_max", "sparse_probing.auroc_k5_max"}
    assert known_curves([one(plot_records())]) == ["auroc max", "auroc mean"]
    assert curve_columns(one(plot_records()), "f1", "mean") == []


def heat(records: list[Record], name: str) -> list[HeatRow]:
    table = one(records)
    column = find_column(table, name)
    assert column is not None
    return heat_rows(table, column)


def test_a_heat_map_holds_every_unit_and_its_difference_to_the_best_baseline():
    records = plot_records()
    rows = heat(records, "auroc_k1_mean")
    stored = {
        (r.subject.name, unit): v[0]
        for r in records
        if r.task.name == "sparse_probing"
        for unit, v in zip(r.per_unit["auroc_k1_mean"].units, r.per_unit["auroc_k1_mean"].values, strict=True)
    }
    assert {(r.subject, r.unit): r.value for r in rows} == stored
    for r in rows:
        best = stored["logistic", r.unit]
        assert best is not None
        assert r.value is not None
        assert (r.reference, r.reference_value) == ("logistic", best)
        assert r.difference == pytest.approx(r.value - best, abs=1e-7)
    subjects = list(dict.fromkeys(r.subject for r in rows))
    assert subjects[:4] == ["topk_32", "relu_32", "gated_64", "topk_8"]
    assert subjects[-2:] == ["logistic", "diff_in_means"]
    saes = [n for n, kind, *_ in SUBJECTS if kind == "sae"]
    means = [np.mean([stored[n, unit] or np.nan for n in saes]) for unit in dict.fromkeys(r.unit for r in rows)]
    assert means == sorted(means, reverse=True)


def test_a_heat_map_without_baselines_shows_values_and_what_is_missing():
    rows = heat(plot_records(), "explained_variance")
    assert {(r.reference, r.difference) for r in rows} == {(None, None)}
    a = made_up("a", {"auroc": np.array([[0.5], [np.nan]])}, seeds=(42,))
    b = made_up("b", {"auroc": np.array([[0.6], [0.7]])}, seeds=(42,))
    cells = {(r.subject, r.unit): r.value for r in heat([a, b], "auroc")}
    assert cells == {("a", "u0"): 0.5, ("a", "u1"): None, ("b", "u0"): 0.6, ("b", "u1"): 0.7}


def test_sites_are_chosen_by_a_part_of_their_title():
    records = [*plot_records("h.1"), *plot_records("h.12")]
    assert len(site_tables(records, None)) == 2
    (table,) = site_tables(records, "h.12")
    assert "h.12" in table.title
    assert site_tables(records, table.title)[0].title == table.title
    with pytest.raises(
        SaebenchError, match=r"^site 'h.1' fits 2 sites; give more of one of these titles: m · h.1 · [^\n]*$"
    ):
        site_tables(records, "h.1")
    with pytest.raises(SaebenchError, match=r"^no site has 'x' in its title; choose from [^\n]*$"):
        site_tables(records, "x")
    with pytest.raises(SaebenchError, match=r"^there are no records to plot"):
        site_tables([], None)


def test_metrics_by_name():
    table = one(plot_records())
    column = find_column(table, "auroc_k1_mean")
    assert column == find_column(table, "sparse_probing.auroc_k1_mean")
    assert column is not None
    assert spelt(column) == "sparse_probing.auroc_k1_mean"
    assert find_column(table, "truth.auroc_k1_mean") is None
    with pytest.raises(
        SaebenchError, match=r"^no record scores metric 'ce_dleta'; did you mean reconstruction.ce_delta"
    ):
        with_column([table], "ce_dleta")
    a = made_up("a", {"auroc": np.array([[0.5]])}, settings={"k": 1}, seeds=(42,))
    b = made_up("b", {"auroc": np.array([[0.5]])}, settings={"k": 2}, seeds=(42,))
    with pytest.raises(
        SaebenchError, match=r"^metric 'auroc' may be sparse_probing\[\w{4}\].auroc or sparse_probing\["
    ):
        find_column(one([a, b]), "auroc")


def test_twins_are_references_alone():
    records = [r for r in plot_records() if r.task.name == "sparse_probing"]
    assert same_as_an_sae(records, "auroc_k1_mean") == {"permuted_decoder of topk_32"}
    copy = dataclasses.replace(records[0], subject=dataclasses.replace(records[0].subject, name="copy"))
    assert same_as_an_sae([*records, copy], "auroc_k1_mean") == {"permuted_decoder of topk_32"}


def test_a_training_curve_is_that_of_the_metadata():
    table = one(plot_records())
    rows = training_rows(table)
    assert [(r.subject, r.step) for r in rows if r.subject == "topk_8"] == [("topk_8", s) for s in (0, 5, 9)]
    assert {r.subject for r in rows} == set(CURVES)
    assert without_curve(table, rows) == 1  # gated_64
    first = next(r for r in rows if (r.subject, r.step) == ("relu_32", 5))
    assert first.l0 == pytest.approx(32.2)
    assert first == TrainingRow(
        site=table.title, subject="relu_32", kind="sae", group="relu", d_sae=64, l0=first.l0, step=5,
        explained_variance=0.7, batch_l0=32.2, dead_fraction=0.5,
    )  # fmt: skip


@pytest.mark.parametrize(
    "told",
    [
        "a curve",
        {"step": [0, 1]},
        {**CURVES["topk_8"], "step": [0, 5]},
        {**CURVES["topk_8"], "step": [0, 9, 5]},
        {**CURVES["topk_8"], "step": [0, 5, True]},
        {**CURVES["topk_8"], "l0": [8, "8", 8]},
        {**CURVES["topk_8"], "l0": 8},
        {name: [] for name in CURVES["topk_8"]},
    ],
)
def test_metadata_that_hold_no_curve_are_none(told: object):
    """Anyone may have written them."""
    assert training_rows(one([made_up("a", meta={"training_curve": told})])) == []
