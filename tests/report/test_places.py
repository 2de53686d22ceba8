"""Where subjects stand in a leaderboard: controls, ranks, clones, noise and scales."""

import csv
import dataclasses
import io
import json
from typing import get_args

import numpy as np
import pytest

from saebench_lite.records.metric import Better
from saebench_lite.records.record import Record
from saebench_lite.records.types import Kind
from saebench_lite.records.verdicts import Verdicts
from saebench_lite.report.leaderboard import Metrics, leaderboard_text, tables
from saebench_lite.stats.reseed_noise import reseed_noise
from tests.helpers.leaderboard_records import cells, tables_of
from tests.helpers.record_factory import made_up, provenance

UNITS = np.random.default_rng(2).random((12, 1))


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
    text = leaderboard_text(probing_table())
    rows = {row[0]: row[1:] for row in cells(text)}
    assert rows["subject"] == ["control", "baseline", "rank", "better than", "sparse_probing auroc ↑", "calibrated"]
    assert {n: rows[n][:4] for n in ("a", "b", "c")} == {
        "a": ["+", "below", "1–2, tied with best", "1"],
        "b": ["+", "below", "1–2, tied with best", "1"],
        "c": ["+", "below", "3", ""],
    }
    assert rows["top (b)"][:4] == ["", "", "above all SAEs", ""]
    assert rows["low (c)"][:4] == ["", "", "below all SAEs", ""]
    assert "Below: the best supervised baseline (top) is better by sparse_probing auroc" in text
    assert "Rank: among the 3 SAEs by sparse_probing auroc, a 95 % interval for each row by itself" in text
    assert "else the best control of the table (low)" in text
    assert "No ranks" not in text
    assert "(low), 1 the best baseline (top)" in text
    assert rows["low (c)"][5] == "0.000 [0.000, 0.000]"
    assert float(rows["a"][5].split()[0]) == pytest.approx(2 / 3, abs=0.05)


def test_a_single_best_is_not_called_tied():
    records = [r for r in probing_table() if r.subject.name != "b"]
    rows = {row[0]: row[1:] for row in cells(leaderboard_text(records))}
    assert [rows[n][2] for n in ("a", "c")] == ["1", "2"]


def test_an_sae_that_equals_the_best_baseline_is_not_below_it():
    records = probing_table()
    best = np.array(records[0].per_unit["auroc"].values, dtype=float)
    equal = made_up("equal", {"auroc": best})
    nearly = made_up("nearly", {"auroc": best + 0.02 * np.random.default_rng(3).normal(size=(40, 1))})
    rows = {r["subject"]: r for r in json.loads(leaderboard_text([*records, equal, nearly], "json"))}
    below = {n: (rows[n]["baseline"], rows[n]["below_baseline"]) for n in ("a", "c", "equal", "nearly", "low")}
    assert below == {"a": ("top", 1), "c": ("top", 1), "equal": ("top", 0), "nearly": ("top", 0), "low": (None, None)}


def test_an_sae_is_tested_against_its_own_matched_control():
    """`random_topk` is above all SAEs, the control matched to `b` below it: a mark for `b` alone."""
    draw = np.random.default_rng(1)
    saes = [r for r in probing_table() if r.subject.kind == "sae"]
    for name, level in (("random_topk", 0.9), ("matched_random of b", 0.5), ("another", 2.0)):
        values = level + 0.05 * draw.normal(size=(40, 3))
        saes.append(made_up(name, {"auroc": values}, kind="control"))
    rows = {r["subject"]: r for r in json.loads(leaderboard_text(saes, "json"))}
    assert [(rows[n]["control"], rows[n]["above_control"]) for n in ("a", "b", "another")] == [
        ("random_topk", 0),
        ("matched_random of b", 1),
        (None, None),
    ]
    assert "else the best control of the table (random_topk)" in leaderboard_text(saes)


def test_twins_of_an_sae_are_neither_ranked_twice_nor_controls():
    records = probing_table()
    clone = dataclasses.replace(records[1].subject, name="permuted_decoder of a", kind="control")
    again = dataclasses.replace(records[1].subject, name="z")
    plain = {r["subject"]: r for r in json.loads(leaderboard_text(records, "json"))}
    more = [*records, *(dataclasses.replace(records[1], subject=s) for s in (clone, again))]
    rows = {r["subject"]: r for r in json.loads(leaderboard_text(more, "json"))}
    for name in ("a", "b", "c"):
        assert rows[name] | {"mrd": 0} == plain[name] | {"mrd": 0}  # the noise is pooled over one more
    assert (rows["z"]["rank_low"], rows["z"]["rank_high"]) == (rows["a"]["rank_low"], rows["a"]["rank_high"])
    assert rows["permuted_decoder of a"]["rank_low"] is None


def test_few_and_alike_units_have_no_interval():
    table = np.zeros((12, 1))
    table[:3, 0] = [0.1, 0.2, 0.3]
    records = [made_up("a", {"auroc": table}, seeds=(1,)), made_up("b", {"auroc": table[:, ::-1] + UNITS}, seeds=(1,))]
    text = leaderboard_text(records)
    assert {row[0]: row[1] for row in cells(text)}["a"] == "0.050"
    assert "No interval stands where" in text
    assert records[0].scores["auroc"].low is not None
    assert [r["low"] is None for r in json.loads(leaderboard_text(records, "json"))] == [True, False]


def test_seeds_that_change_no_digit_show_no_noise():
    records = [made_up(n, {"auroc": np.repeat(UNITS + m, 3, 1)}) for n, m in (("a", 0.0), ("b", 0.1))]
    moved = made_up("top", {"auroc": UNITS + 0.2 + 0.01 * np.random.default_rng(0).random((12, 3))}, kind="baseline")
    text = leaderboard_text([*records, moved])
    assert "12 units, 3 seeds, reseed sd –, CV –, MRD –: seeds change no digit of an SAE's score" in text
    rows = {r["subject"]: r for r in json.loads(leaderboard_text([*records, moved], "json"))}
    assert [rows["a"][k] for k in ("reseed_sd", "cv", "mrd")] == [None, None, None]
    assert rows["top"]["reseed_sd"] > 0


def test_noise_of_a_metric_stands_below_and_in_the_rows():
    records = probing_table()
    noise = reseed_noise([np.array(r.scores["auroc"].per_seed) for r in records if r.subject.kind == "sae"])
    assert noise is not None
    line = f"sparse_probing auroc: 40 units, 3 seeds, reseed sd {noise.sd:.3f}, CV {100 * noise.cv:.2g} %, MRD"  # type: ignore[operator]
    assert line in leaderboard_text(records)
    rows = {r["subject"]: r for r in json.loads(leaderboard_text(records, "json"))}
    assert rows["a"]["mrd"] == pytest.approx(noise.mrd)
    own = np.array(records[1].scores["auroc"].per_seed)
    assert rows["a"]["reseed_sd"] == pytest.approx(own.std(ddof=1))
    assert rows["a"]["cv"] == pytest.approx(own.std(ddof=1) / own.mean())
    assert (rows["a"]["rank_low"], rows["a"]["rank_high"]) == (1, 2)
    assert [rows["a"][k] for k in ("above_control", "tied_with_best", "better_than", "likely_better_than")] == [1] * 4
    assert rows["top"]["rank_low"] is None
    assert rows["a"]["calibrated_low"] < rows["a"]["calibrated"] < rows["a"]["calibrated_high"]
    first = next(csv.DictReader(io.StringIO(leaderboard_text(records, "csv"))))
    assert (first["subject"], first["rank_low"]) == ("a", "1")


def test_no_scale_where_the_baseline_does_not_beat_the_control():
    records = [r for r in probing_table() if r.subject.name in ("a", "b")]
    turned = [
        dataclasses.replace(r, subject=dataclasses.replace(r.subject, kind=k))
        for r, k in zip(records, ("control", "baseline"), strict=True)
    ]
    worse = dataclasses.replace(turned[1], per_unit=probing_table()[4].per_unit)
    text = leaderboard_text([turned[0], worse])
    why = "the best baseline (b) is not known to be four standard errors better than"
    assert f"No calibrated score of sparse_probing auroc: {why}" in text
    assert json.loads(leaderboard_text([turned[0], worse], "json"))[0]["calibrated"] is None


def test_unseeded_tasks_have_no_reseed_noise():
    unit = np.random.default_rng(1).random((12, 1))
    records = [made_up(n, {"delta": unit + m}, task="ce_delta", seeds=()) for n, m in (("a", 0.0), ("b", 0.1))]
    text = leaderboard_text(records)
    assert "ce_delta delta: 12 units, no random numbers drawn" in text
    assert [row[0] for row in cells(text)] == ["subject", "a", "b"]
    assert "No ranks by ce_delta delta: 12 units are too few to order SAEs (from 30)" in text
    assert json.loads(leaderboard_text(records, "json"))[0]["mrd"] is None


def test_of_two_records_of_a_subject_only_the_newer_is_ranked():
    old, new = (dataclasses.replace(probing_table()[1], provenance=provenance(d)) for d in ("2024", "2025"))
    old = dataclasses.replace(old, subject=dataclasses.replace(old.subject, fingerprint="before"))
    rows = json.loads(leaderboard_text([old, new, probing_table()[3]], "json"))
    assert sorted((r["subject"], r["rank_low"]) for r in rows if r["rank_low"]) == [("a", 1), ("c", 2)]
    assert len(rows) == 3


@pytest.mark.parametrize(
    ("probing", "detection", "ranked"), [(12, 40, "concept_detection"), (40, 40, "sparse_probing")]
)
def test_the_probing_task_with_the_most_units_ranks(probing, detection, ranked):
    draw = np.random.default_rng(4)
    level = {"a": 0.2, "b": 0.1, "c": 0.0}

    def of(task: str, units: int, sign: int) -> list[Record]:
        unit = draw.normal(0.5, 0.05, size=(units, 1))
        return [
            made_up(n, {"auroc": unit + sign * m + 0.01 * draw.normal(size=(units, 3))}, task=task)
            for n, m in level.items()
        ]

    records = [*of("sparse_probing", probing, 1), *of("concept_detection", detection, -1)]
    order = [row[0] for row in cells(leaderboard_text(records))][1:]
    assert order == (["a", "b", "c"] if ranked == "sparse_probing" else ["c", "b", "a"])


def test_a_control_of_which_a_part_was_trained_is_not_the_zero_of_the_scale():
    units = np.linspace(0.5, 0.7, 12)[:, None].repeat(3, 1)
    records = [
        made_up("a", {"auroc": units}),
        made_up("logistic", {"auroc": units + 0.2}, kind="baseline"),
        made_up("soft_frozen_decoder", {"auroc": units - 0.05}, kind="control"),
        made_up("random_topk", {"auroc": units - 0.2}, kind="control"),
    ]
    (table,) = tables_of(records)
    assert table.ranking is not None
    ranking = table.rankings[table.ranking]
    assert ranking.control == "random_topk"
    scaled = ranking.of["a"].calibrated
    assert scaled is not None
    assert scaled[0] == pytest.approx(0.5)


def test_metrics_of_which_the_same_is_said_share_a_note():
    known: dict[str, Better] = {"auroc": "higher", "f1": "higher"}
    both = "sparse_probing auroc, sparse_probing f1"

    def text(units: int) -> str:
        level: dict[str, tuple[float, Kind]] = {"top": (0.3, "baseline"), "a": (0.2, "sae"), "low": (0.0, "control")}
        unit = np.linspace(0.4, 0.6, units)[:, None]
        return leaderboard_text(
            [made_up(n, {m: unit + v for m in known}, kind=k, metrics=known, seeds=(1,)) for n, (v, k) in level.items()]
        )

    scaled = text(40)
    assert f"Calibrated, {both}: 0 is the best random control (low), 1 the best baseline (top)" in scaled
    assert scaled.count("0 is the best random control") == 1
    assert f"No calibrated score of {both}: fewer than 12 units" in text(11)


@pytest.mark.parametrize("metrics", get_args(Metrics))
def test_the_first_headline_ranks_whatever_else_is_shown(metrics):
    values = {"auroc": UNITS, "delta": UNITS}
    records = [made_up(n, values, task="other", headline=["delta", "auroc"], seeds=(1,)) for n in ("x", "y")]
    (only,) = tables(records, Verdicts({}), metrics)
    assert only.ranking is not None
    assert only.ranking.metric == "delta"
