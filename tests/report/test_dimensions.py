"""Dimensions of a leaderboard, the front of fidelity over L0, and the random control of an SAE's width and L0."""

import dataclasses

import numpy as np
import pytest

from saebench_lite.records.metric import Construct
from saebench_lite.records.record import Record
from saebench_lite.records.types import Kind
from saebench_lite.report.leaderboard import leaderboard_text
from saebench_lite.report.pareto import dominated
from saebench_lite.report.ranking import rank_metric
from tests.helpers.leaderboard_records import cells
from tests.helpers.record_factory import made_up

UNITS = np.random.default_rng(1).normal(0.5, 0.05, size=(40, 1))


def fidelity(levels: dict[str, float], metric: str = "auroc", kind: Kind = "sae") -> list[Record]:
    """One record a subject on the same units, at its level."""
    draw = np.random.default_rng(2)
    return [
        made_up(n, {metric: UNITS + level + 0.005 * draw.normal(size=(40, 1))}, seeds=(1,), kind=kind)
        for n, level in levels.items()
    ]


def test_an_sae_is_dominated_by_one_with_no_more_latents_that_is_better():
    records = fidelity({"sparse": 0.0, "same": 0.3, "worse": 0.1, "dense": 0.6})
    got = dominated({"auroc": records}, {"sparse": 8, "same": 16, "worse": 16, "dense": 64})
    assert got == {"sparse": [], "same": [], "worse": ["same"], "dense": []}
    got = dominated({"auroc": records}, {"sparse": 8, "same": 32, "worse": 16, "dense": 64})
    assert got["worse"] == []  # what is better fires more latents
    assert dominated({"auroc": records}, dict.fromkeys(("sparse", "same", "worse", "dense"), 8.0))["same"] == ["dense"]


def test_domination_is_asked_on_all_metrics_and_among_saes_alone():
    up, down = {"a": 0.3, "b": 0.0}, {"a": -0.3, "b": 0.0}
    l0 = {"a": 8.0, "b": 8.0, "basis": 8.0}
    assert dominated({"auroc": fidelity(up)}, l0)["b"] == ["a"]
    assert dominated({"auroc": fidelity(up), "delta": fidelity(down, "delta")}, l0)["b"] == ["a"]  # lower is better
    assert dominated({"auroc": fidelity(up), "delta": fidelity(up, "delta")}, l0)["b"] == []
    basis = fidelity({"basis": 0.9}, kind="dictionary baseline")
    assert dominated({"auroc": [*fidelity(up), *basis]}, l0) == {"a": [], "b": ["a"]}
    assert dominated({"auroc": fidelity({"a": 0.3, "b": 0.3})}, l0) == {"a": [], "b": []}  # nothing to tell apart


def declared(record: Record, constructs: dict[str, Construct]) -> Record:
    metrics = {n: dataclasses.replace(m, construct=constructs.get(n)) for n, m in record.task.metrics.items()}
    return dataclasses.replace(record, task=dataclasses.replace(record.task, metrics=metrics))


def test_every_construct_has_a_table_of_its_own_with_size_beside_it():
    records = []
    for name, l0, level in (("a", 8.0, 0.2), ("b", 8.0, 0.1)):
        probing = made_up(name, {"auroc": UNITS + level}, seeds=(1,))
        values = {"delta": 1 - UNITS - level, "l0": np.full((40, 1), l0)}
        spliced = made_up(name, values, task="ce_delta", seeds=(1,), headline=["delta", "l0"])
        made = (declared(probing, {"auroc": "recovery"}), declared(spliced, {"delta": "fidelity", "l0": "sparsity"}))
        for record in made:
            record.subject.meta["d_sae"] = 64
            records.append(record)
    text = leaderboard_text(records)
    assert text.index("Recovery: ") < text.index("Fidelity: ")
    assert "Sparsity: " not in text  # L0 stands beside all
    heads = [row for row in cells(text) if row[0] == "subject"]
    assert [head[:3] for head in heads] == [["subject", "d_sae", "L0"]] * 2
    assert "sparse_probing auroc ↑" in heads[0]
    assert heads[1][3:] == ["dominated by", "ce_delta delta ↓"]
    rows = [row for row in cells(text) if row[0] in ("a", "b")]
    assert rows[0][:3] == ["a", "64", "8.000"]
    assert [row[3] for row in rows[2:]] == ["front", "a"]


def test_an_l0_that_claims_nothing_keeps_its_column():
    theirs = made_up("a", {"auroc": UNITS, "l0": UNITS}, task="theirs", seeds=(1,), headline=["auroc", "l0"])
    assert "theirs l0" in cells(leaderboard_text([theirs]))[0]


@pytest.mark.parametrize(("l0", "width", "own"), [(8.2, 64, True), (12.0, 64, False), (8.2, 128, False)])
def test_the_control_of_an_sae_has_its_width_and_nearly_its_l0(l0, width, own):
    sae, control = fidelity({"sae": 0.3})[0], fidelity({"matched_random of other": 0.0}, kind="control")[0]
    best = fidelity({"random_topk": 0.1}, kind="control")[0]
    sae.subject.meta.update(d_sae=64, sample_l0=8.0)
    control.subject.meta.update(d_sae=width, matched_l0=l0)
    got = rank_metric([sae, control, best], "auroc").of["sae"]
    assert got.control == ("matched_random of other" if own else "random_topk")


def test_of_two_controls_of_its_width_and_l0_an_sae_has_to_beat_the_better():
    sae = fidelity({"sae": 0.3})[0]
    nearer = fidelity({"matched_random of other": 0.0}, kind="control")[0]
    better = fidelity({"random_topk": 0.1}, kind="control")[0]
    sae.subject.meta.update(d_sae=64, sample_l0=8.0)
    nearer.subject.meta.update(d_sae=64, matched_l0=8.0)
    better.subject.meta.update(d_sae=64, sample_l0=8.5)
    assert rank_metric([sae, nearer, better], "auroc").of["sae"].control == "random_topk"
    better.subject.meta["sample_l0"] = 12.0
    assert rank_metric([sae, nearer, better], "auroc").of["sae"].control == "matched_random of other"


def test_l0_of_the_sample_stands_where_no_task_measured_it():
    probing = made_up("a", {"auroc": UNITS}, seeds=(1,), meta={"sample_l0": 31.25, "d_sae": 64})
    measured = made_up("a", {"l0": np.full((40, 1), 8.0)}, task="reconstruction", seeds=(1,), headline=["l0"])
    assert "31.250" in leaderboard_text([probing])
    both = leaderboard_text([probing, measured])
    assert "8.000" in both
    assert "31.250" not in both
