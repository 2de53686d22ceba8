"""Two subjects side by side, from records alone."""

import json
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from saebench_lite.errors import SaebenchError
from saebench_lite.records.metric import Better
from saebench_lite.records.record import Record
from saebench_lite.records.selection import variant
from saebench_lite.report.compare import Comparison, compare, to_rows
from saebench_lite.report.compare_text import sentence, to_terminal, to_text, verdict
from saebench_lite.stats.paired import holm
from tests.helpers.record_factory import made_up

DRAW = np.random.default_rng(0)
UNIT = DRAW.normal(0.7, 0.1, size=(12, 1))
LOW, HIGH = UNIT + 0.01 * DRAW.normal(size=(12, 3)), UNIT + 0.05 + 0.01 * DRAW.normal(size=(12, 3))


def test_a_row_holds_the_paired_figures():
    records = [made_up("a", {"auroc": HIGH}), made_up("b", {"auroc": LOW})]
    (row,), missing = compare(records, records, "a", "b")
    assert missing == []
    (shown,) = to_rows([row])
    numbers: dict[str, Any] = dict(shown)
    difference = (HIGH - LOW).mean(1)
    assert shown["difference"] == pytest.approx(difference.mean())
    assert numbers["low"] < difference.mean() < numbers["high"]
    assert numbers["p_holm"] == numbers["p_bootstrap"] < 0.001
    assert shown["p_permutation"] == pytest.approx(2 / 2**12)
    assert (shown["win"], shown["tie"], shown["loss"]) == (12, 0, 0)
    groups = [HIGH.mean(0), LOW.mean(0)]
    s = np.sqrt(np.mean([g.var(ddof=1) for g in groups]))
    assert shown["mrd"] == pytest.approx(scipy_stats.t.ppf(0.975, 4) * s * np.sqrt(2 / 3))
    assert shown["effect_over_mrd"] == pytest.approx(numbers["difference"] / numbers["mrd"], rel=1e-6)
    assert json.loads(json.dumps(shown)) == shown


def test_directions():
    """Lower is better, nearer to one is better, and neither."""
    near, far = np.full((9, 1), 1.1) + 0.01 * DRAW.random((9, 1)), np.full((9, 1), 0.7) + 0.01 * DRAW.random((9, 1))
    values = [{"delta": far, "ratio": near, "l0": near}, {"delta": near, "ratio": far, "l0": far}]
    records = [made_up(n, v, seeds=()) for n, v in zip("ab", values, strict=True)]
    rows = {r.metric: r for r in compare(records, records, "a", "b")[0]}
    assert rows["delta"].counts == (9, 0, 0)
    assert rows["delta"].paired.difference == pytest.approx(far.mean() - near.mean())
    assert rows["ratio"].counts == (9, 0, 0)
    assert rows["ratio"].paired.difference == pytest.approx(2 - far.mean() - near.mean())
    assert rows["l0"].counts == (9, 0, 0)
    assert rows["delta"].mrd is None


def test_holm_runs_over_the_rows():
    noise = {m: 0.02 * DRAW.normal(size=(12, 3)) for m in ("auroc", "delta")}
    a = made_up("a", {"auroc": UNIT + 0.02 + noise["auroc"], "delta": UNIT + 0.01 + noise["delta"]})
    b = made_up("b", {"auroc": np.repeat(UNIT, 3, 1), "delta": np.repeat(UNIT, 3, 1)})
    rows, _ = compare([a], [b], "a", "b")
    p = sorted((r.paired.p or 0.0, r.p_holm or 0.0) for r in rows)
    assert p[0][1] == pytest.approx(2 * p[0][0])
    assert p[1][1] == pytest.approx(max(p[0][1], p[1][0]))


def test_the_same_values_under_two_settings_are_one_comparison():
    """A setting that a metric does not read changes neither its values nor the number of tests."""

    def of(name: str, x: np.ndarray, **other: np.ndarray) -> list[Record]:
        return [
            made_up(name, {"auroc": x, "delta": x + k * other["moved"]}, settings={"k": k}, headline=["auroc", "delta"])
            for k in (1, 5)
        ]

    moved = 0.02 * DRAW.normal(size=(2, 12, 3))
    a, b = of("a", UNIT + 0.02 + moved[0], moved=moved[1]), of("b", np.repeat(UNIT, 3, 1), moved=moved[0])
    rows, _ = compare(a, b, "a", "b")
    first, again = (i for i, r in enumerate(rows) if r.metric == "auroc")
    assert [r.repeats for r in rows] == [first if i == again else None for i in range(4)]
    assert [r["repeats_row"] for r in to_rows(rows)] == [r.repeats for r in rows]
    p = np.array([r.paired.p for r in rows if r.repeats is None], dtype=float)
    assert [r.p_holm for r in rows if r.repeats is None] == pytest.approx(holm(p).tolist())
    assert rows[first].p_holm == rows[again].p_holm
    assert sum(int(n) for n in re.findall(r"in (\d+)", sentence(rows, "a"))) == 3
    names = [f"sparse_probing [{rows[i].variant}] auroc ↑ (?)" for i in (first, again)]
    for shown in (to_terminal(rows, [], "a", "b"), to_text(rows, [], "a", "b").replace("\\", "")):
        said = f"{', '.join(names)}: the same values in every unit; counted once, by Holm and below."
        assert said in " ".join(shown.split())


def test_metrics_without_a_difference_are_tests_of_their_own():
    """Two shares that are 0 in every unit agree by chance."""
    zero = {m: np.zeros((12, 3)) for m in ("auroc", "delta")}
    both = [made_up(n, zero | {"ratio": x}) for n, x in (("a", HIGH), ("b", LOW))]
    rows, _ = compare(both, both, "a", "b")
    assert [r.repeats for r in rows] == [None] * 3
    (ratio,) = (r for r in rows if r.metric == "ratio")
    assert ratio.p_holm == pytest.approx(3 * (ratio.paired.p or 0.0))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"hook": "other"}, r"different site hook \(h and other\)"),
        ({"data": "1"}, r"different data \(d0 and d1\)"),
        ({"version": 2}, r"different task version \(1 and 2\)"),
        ({"settings": {"k": 5}}, r"different setting k \(None and 5\)"),
        ({"seeds": (1, 2, 3)}, r"different seeds"),
        ({"task": "absorption"}, "b has no record of it"),
        ({"status": "failed"}, r"b is failed \(it broke\)"),
    ],
)
def test_what_cannot_be_compared_is_named(change, sentence):
    a, b = made_up("a", {"auroc": HIGH}), made_up("b", {"auroc": LOW}, **change)
    with pytest.raises(SaebenchError, match=sentence):
        compare([a], [b], "a", "b")


def test_of_several_variants_the_nearest_is_named():
    a = made_up("a", {"auroc": HIGH})
    b = [made_up("b", {"auroc": LOW}, hook="x", settings={"k": 1}), made_up("b", {"auroc": LOW}, seeds=(1, 2, 3))]
    with pytest.raises(SaebenchError, match="different seeds"):
        compare([a], b, "a", "b")


def test_unknown_subjects_are_refused_with_the_known_ones():
    with pytest.raises(SaebenchError, match="called 'x'; there are: a"):
        compare([made_up("a", {"auroc": HIGH})], [], "x", "a")


def test_parts_that_agree_are_compared_and_the_others_named():
    a = [made_up("a", {"auroc": HIGH}), made_up("a", {"delta": HIGH}, task="ce_delta")]
    b = [made_up("b", {"auroc": LOW}), made_up("b", {"delta": LOW}, task="ce_delta", version=2)]
    rows, missing = compare(a, b, "a", "b")
    assert [r.task for r in rows] == ["sparse_probing"]
    text = to_text(rows, missing, "a", "b")
    assert "not compared: ce_delta: different task version (1 and 2)" in text
    assert "12/0/0" in text


def test_command_line(tmp_path):
    for name, values in (("a", HIGH), ("b", LOW)):
        made_up(name, {"auroc": values}).save(tmp_path)
    made_up("a", {"auroc": LOW}).save(tmp_path / "other")

    def call(*words: str) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, "-m", "saebench_lite", *words], capture_output=True, text=True)

    shown = json.loads(call("compare", "a", "b", str(tmp_path), "--json").stdout)
    assert shown["rows"][0]["win"] == 12
    other = call("compare", "a", "a", str(tmp_path), "--folder-b", str(tmp_path / "other")).stdout
    assert "sparse_probing auroc ↑" in other
    wrong = call("compare", "a", "z", str(tmp_path))
    assert (wrong.returncode, len(wrong.stderr.strip().splitlines())) == (2, 1)


def verdicts() -> tuple[list[Comparison], list[str]]:
    """A better, worse, undecided, nearer to 1, and without direction, in long names of tasks and metrics."""
    metrics: dict[str, Better] = {"average_precision_mean": "higher", "delta": "lower", "auroc": "higher"}
    metrics |= {"ratio": "one", "l0": "neither"}
    draw = np.random.default_rng(4)
    noise = 0.01 * draw.normal(size=(12, 3))
    first = {"average_precision_mean": HIGH, "delta": HIGH, "auroc": LOW, "ratio": HIGH, "l0": HIGH}
    second = {"average_precision_mean": LOW, "delta": LOW, "auroc": LOW + noise, "ratio": LOW, "l0": LOW}
    names = "topk_of_a_long_name", "b"
    records = [made_up(n, v, metrics=metrics, headline=list(v)) for n, v in zip(names, (first, second), strict=True)]
    return compare(records, records, *names)


def test_it_ends_with_a_sentence_that_counts_verdicts():
    rows, missing = verdicts()
    assert [verdict(r) for r in rows] == ["better", "worse", "undecided", "better", "no direction"]
    told = "better in 2 metrics, worse in 1, undecided in 1 (Holm, 5 %); 1 without direction."
    want = f"topk_of_a_long_name is {told}"
    assert sentence(rows, "topk_of_a_long_name") == want
    for shown in (to_text, to_terminal):
        assert shown(rows, missing, "topk_of_a_long_name", "b").splitlines()[-1] == want


def test_a_terminal_of_100_columns_shows_every_row():
    rows, missing = verdicts()
    lines = to_terminal(rows, missing, "x" * 90, "y" * 90).splitlines()
    assert lines[:2] == ["A: " + "x" * 90, "B: " + "y" * 90]
    assert max(len(line) for line in lines[2:-1]) <= 100
    for row in rows:
        (line,) = [line for line in lines if row.metric in line]
        assert row.paired.high is not None
        assert row.paired.low is not None
        half = (row.paired.high - row.paired.low) / 2
        assert f"{row.paired.difference:.3f} ±{half:.3f}" in line


def test_doubtful_metrics_are_marked_and_codes_of_settings_explained():
    directions: dict[str, Better] = {"f1_k1_mean": "higher", "average_precision_mean": "higher"}

    def of(name: str, values: np.ndarray, pooling: str) -> Record:
        scores = dict.fromkeys(directions, values)
        settings: dict[str, object] = {"pooling": pooling, "ks": [1, 5]}
        return made_up(name, scores, version=4, metrics=directions, settings=settings)

    records = [of(n, v, p) for n, v in (("a", HIGH), ("b", LOW)) for p in ("mean", "last")]
    codes = {r.settings["pooling"]: variant(r) for r in records}
    rows, _ = compare(records, records, "a", "b")
    for shown in (to_terminal(rows, [], "a", "b"), to_text(rows, [], "a", "b").replace("\\", "")):
        assert "f1_k1_mean ↑ (open)" in shown
        assert "(open): the audit leaves open" in shown
        assert "average_precision_mean ↑ (" not in shown
        for pooling, code in codes.items():
            assert f"[{code}]: sparse_probing, pooling {pooling}." in shown
    assert {row["verdict"] for row in to_rows(rows)} == {"open", "passes"}
    alone, _ = compare(records[::2], records[::2], "a", "b")
    assert "pooling" not in to_terminal(alone, [], "a", "b")


def test_scores_stand_on_the_values_that_both_have():
    """A minus B is the difference that stands beside them."""
    lacking, other = HIGH.copy(), LOW.copy()
    lacking[5], lacking[3, 0], other[7] = np.nan, np.nan, np.nan
    lacking[7] = 9.0  # where b has no value
    records = [made_up("a", {"auroc": lacking, "l0": HIGH}), made_up("b", {"auroc": other, "l0": LOW})]
    rows, _ = compare(records, records, "a", "b")
    row = next(r for r in rows if r.metric == "auroc")
    keep = np.isfinite(lacking) & np.isfinite(other)
    assert row.a == pytest.approx(lacking[keep].mean())
    assert row.b == pytest.approx(other[keep].mean())
    assert row.a - row.b == pytest.approx(row.paired.difference)
    assert (row.units, row.paired.n) == ((11, 11), 10)
    shown, whole = to_rows([row, next(r for r in rows if r.metric == "l0")])
    assert shown["a"] == pytest.approx(row.a)
    assert [shown[k] for k in ("on_common_units", "units", "units_a", "units_b")] == [True, 10, 11, 11]
    assert [whole[k] for k in ("on_common_units", "units", "units_a", "units_b")] == [False, 12, 12, 12]
    said = "auroc ↑ (?): compared at the units and seeds where both have a value; units: 10, of A 11, of B 11."
    for text in (to_text(rows, [], "a", "b"), " ".join(to_terminal(rows, [], "a", "b").split())):
        assert text.count("where both have a value") == 1
        assert said in text.replace("\\_", "_")
    (l0,) = (r for r in rows if r.metric == "l0")
    assert (l0.a, l0.b, l0.units) == (records[0].scores["l0"].value, records[1].scores["l0"].value, None)


def test_it_is_said_where_the_missing_units_do_not_move_the_score():
    """As absorption's letters, on most of which nothing is absorbed."""
    short = np.zeros((12, 1))
    short[3] = np.nan
    records = [made_up("a", {"auroc": short}, seeds=()), made_up("b", {"auroc": np.zeros((12, 1))}, seeds=())]
    ((row,), _) = compare(records, records, "a", "b")
    assert (row.a, row.b, row.units) == (0.0, 0.0, (11, 12))
    assert to_rows([row])[0]["on_common_units"] is True
    assert "units: 11, of A 11, of B 12." in " ".join(to_terminal([row], [], "a", "b").split())


def test_a_unit_of_no_weight_is_none_that_counts():
    weights = np.ones_like(HIGH)
    weights[3] = 0.0
    light, other = HIGH.copy(), HIGH.copy()
    light[3] = other[3] = 9.0
    records = [made_up("a", {"auroc": light}, weights=weights), made_up("b", {"auroc": other})]
    ((row,), _) = compare(records, records, "a", "b")
    assert row.a == row.b == pytest.approx(np.delete(HIGH, 3, axis=0).mean())
    assert (row.paired.difference, row.units) == (pytest.approx(0.0, abs=1e-12), (11, 12))
