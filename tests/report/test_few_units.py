"""Two to eleven units: no tests and no interval over them is shown; one over their own texts where errors are known."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import yaml

from saebench_lite.records.record import Record
from saebench_lite.records.types import Kind
from saebench_lite.records.verdicts import Verdicts
from saebench_lite.report.compare import compare, to_rows
from saebench_lite.report.compare_text import to_terminal, to_text, verdict
from saebench_lite.report.eee_json import eee_results
from saebench_lite.report.exports import export
from saebench_lite.report.leaderboard import leaderboard_text, tables
from saebench_lite.report.numbers import ends, interval_over
from saebench_lite.report.pareto import dominated
from saebench_lite.report.ranking import rank_metric
from saebench_lite.report.regression import check
from saebench_lite.report.regression_text import to_markdown
from saebench_lite.report.terminal_table import narrow
from tests.helpers.record_factory import made_up

Z = 1.959964


def of(units: int, name: str = "a", level: float = 0.5, error: float | None = 0.02, kind: Kind = "sae") -> Record:
    """Scores about a level; units of twice and half the error have weights of 1 and 3."""
    draw = np.random.default_rng([units, len(name)])
    values = level + np.linspace(0, 0.3, units)[:, None] + 0.01 * draw.normal(size=(units, 1))
    odd = np.arange(units)[:, None] % 2 == 1
    errors = None if error is None else {"auroc": np.where(odd, 2 * error, error)}
    return made_up(name, {"auroc": values}, weights=np.where(odd, 3.0, 1.0), errors=errors, seeds=(1,), kind=kind)


def over_texts(units: int, error: float = 0.02) -> float:
    """Standard error of the mean of `of`, whose units are independent."""
    odd = np.arange(units) % 2 == 1
    w, e = np.where(odd, 3.0, 1.0), np.where(odd, 2 * error, error)
    return float(np.sqrt(((w * e) ** 2).sum()) / w.sum())


@pytest.mark.parametrize("units", [2, 5, 6, 11])
def test_few_units_have_an_interval_over_their_own_texts_alone(units):
    told, untold = of(units), of(units, error=None)
    value, half = told.scores["auroc"].value, Z * over_texts(units)
    assert ends(told, "auroc") == pytest.approx((value - half, value + half), abs=1e-6)
    assert interval_over(told, "auroc") == "own test texts"
    assert told.scores["auroc"].low is not None  # over units, which no table prints
    text = leaderboard_text([told])
    assert f"sparse_probing auroc: {units} units (intervals over their test texts)" in text
    own = "over their own test texts where units are fewer than 12"
    assert own in " ".join(narrow(tables([told], Verdicts({}))[0], 100).split())
    assert (ends(untold, "auroc"), interval_over(untold, "auroc")) == ((None, None), None)
    assert "over fewer than 12 units it is over their own test texts, where" in leaderboard_text([untold])
    assert own not in " ".join(narrow(tables([untold], Verdicts({}))[0], 100).split())


def test_a_column_of_few_and_of_many_units_says_which_intervals_are_over_texts():
    text = leaderboard_text([of(11, "a"), of(12, "bb", 0.6)])
    assert "sparse_probing auroc: 11–12 units (intervals of fewer than 12 units over their test texts)" in text


def test_ends_over_texts_keep_to_the_bounds_of_the_metric():
    high = made_up("a", {"auroc": np.full((4, 1), 0.97)}, errors={"auroc": np.full((4, 1), 0.08)}, seeds=(1,))
    beyond = ends(high, "auroc")[1]
    assert beyond is not None
    assert beyond > 1
    metric = high.task.metrics["auroc"]
    high.task.metrics["auroc"] = dataclasses.replace(metric, lower_bound=0.0, upper_bound=1.0)
    low, top = ends(high, "auroc")
    assert low is not None
    assert top is not None
    assert 0 < low < 0.97 < top < 1


def test_the_short_table_says_why_a_score_has_no_interval():
    for record, told in ((of(11, error=None), True), (of(11), False), (of(12), False)):
        text = " ".join(narrow(tables([record], Verdicts({}))[0], 100).split())
        assert ("none: too few units, too many equal, or an error not known" in text) is told


@pytest.mark.parametrize(("units", "verdict"), [(3, "undecided"), (5, "undecided"), (6, "worse"), (11, "worse")])
def test_check_asks_few_units_by_sign_flips(units, verdict):
    """A steady loss in all units: five of them can neither show it nor, whatever it is, be in order; six can."""
    earlier, new = of(units, level=0.5), of(units, level=0.4)
    (finding,) = check([new], [earlier], min_effect=0.01).findings
    assert finding.p is not None
    if units < 6:  # else by the bootstrap
        assert finding.p == pytest.approx(2 / 2**units)
    assert finding.verdict == verdict
    (same,) = check([earlier], [earlier], min_effect=0.01).findings
    assert same.verdict == "ok"


@pytest.mark.parametrize(("units", "certain"), [(2, False), (5, False), (6, True), (11, True)])
def test_check_names_no_change_that_counts_where_none_can_be_certain(units, certain):
    """Nor a test that would decide, nor a number of units that would not."""
    earlier, new = of(units, level=0.5), of(units, level=0.4)
    for pair in ((new, earlier), (earlier, earlier)):
        result = check([pair[0]], [pair[1]])
        (finding,) = result.findings
        assert (finding.counts_from is not None) is certain
        assert any("the test over units alone decides" in note for note in result.notes) is certain
        row = next(line for line in to_markdown(result).splitlines() if line.startswith("| a "))
        assert (row.split("|")[6].strip() == "–") is not certain
    (lost,) = check([new], [earlier], min_effect=0.01).findings
    if not certain:
        told = re.fullmatch(r"about (\d+) more units .*", lost.needs or "")
        assert told is not None
        assert units + int(told[1]) >= 6


def test_a_change_counts_where_one_unit_or_retrained_saes_show_noise():
    def counts(new: Record, *earlier: Record) -> float | None:
        (finding,) = check([new], *([r] for r in earlier)).findings
        return finding.counts_from

    def sae(fingerprint: str, level: float = 0.5) -> Record:
        return made_up("a", {"auroc": np.linspace(level, 0.8, 3)[:, None]}, seeds=(1,), fingerprint=fingerprint)

    assert counts(of(1), of(1)) == pytest.approx(Z * 0.02 * 2**0.5, rel=1e-3)
    assert counts(of(1, error=None), of(1, error=None)) is None
    assert counts(sae("n"), sae("x", 0.4), sae("y", 0.6)) is not None
    assert counts(sae("n"), sae("x"), sae("y")) is None


def test_one_unknown_error_leaves_no_interval():
    errors = np.full((7, 1), 0.02)
    errors[3] = np.nan
    some = made_up("a", {"auroc": np.linspace(0.5, 0.8, 7)[:, None]}, errors={"auroc": errors}, seeds=(1,))
    assert ends(some, "auroc") == (None, None)


def test_twelve_units_have_one_over_units():
    twelve = of(12)
    assert ends(twelve, "auroc") == (twelve.scores["auroc"].low, twelve.scores["auroc"].high)
    assert interval_over(twelve, "auroc") == "units"
    assert "test texts" not in leaderboard_text([twelve])
    alike = made_up("a", {"auroc": np.linspace(0.5, 0.8, 12).clip(0.6)[:, None]}, seeds=(1,))
    assert alike.scores["auroc"].low is not None
    assert (ends(alike, "auroc"), interval_over(alike, "auroc")) == ((None, None), None)


@pytest.mark.parametrize(("units", "there"), [(1, True), (2, False), (11, False), (12, True)])
def test_the_same_where_a_record_holds_no_units(units, there):
    bare = of(units)
    bare.per_unit.clear()
    assert (ends(bare, "auroc")[0] is not None) is there


@pytest.mark.parametrize(("units", "asked"), [(11, False), (12, True)])
def test_marks_scales_and_the_front_are_asked_from_twelve_units(units, asked):
    kinds: dict[str, tuple[float, Kind]] = {"sae": (0.5, "sae"), "other": (0.9, "sae")}
    kinds |= {"random_topk": (0.1, "control"), "logistic": (1.4, "baseline")}
    records = [of(units, name, level, kind=kind) for name, (level, kind) in kinds.items()]
    ranking = rank_metric(records, "auroc")
    place = ranking.of["sae"]
    assert [place.above_control, place.below_baseline] == ([True, True] if asked else [None, None])
    assert (place.calibrated is not None) is asked
    assert ranking.unscaled == (None if asked else "fewer than 12 units")
    assert dominated({"auroc": records}, {"sae": 8, "other": 8}) == ({"sae": ["other"], "other": []} if asked else {})


def test_exports_say_what_an_interval_is_over(tmp_path: Path):
    for units, over in ((1, "own test texts"), (11, "own test texts"), (12, "units")):
        record = of(units)
        (row,) = json.loads(leaderboard_text([record], "json"))
        assert (row["low"], row["high"], row["interval_over"]) == (*ends(record, "auroc"), over)
        (log,) = eee_results([record]).values()
        uncertainty = json.loads(log)["evaluation_results"][0]["score_details"]["uncertainty"]
        assert uncertainty["confidence_interval"]["method"] == f"over {over}"
        (card,) = export([record], "hf", tmp_path / str(units))
        (result,) = yaml.safe_load(card.read_text())["model-index"][0]["results"]
        assert result["metrics"][0]["args"]["interval_over"] == over
    (row,) = json.loads(leaderboard_text([of(11, error=None)], "json"))
    assert (row["low"], row["high"], row["interval_over"]) == (None, None, None)
    assert "own test texts where units are fewer than 12" in leaderboard_text([of(11)], "html")


@pytest.mark.parametrize("units", [2, 7, 11])
def test_compare_has_an_interval_over_texts_and_no_p_over_few_units(units):
    records = [of(units, "a", 0.9, 0.03), of(units, "bb", 0.5)]
    (row,), _ = compare(records, records, "a", "bb")
    half = Z * float(np.hypot(over_texts(units, 0.03), over_texts(units)))
    assert (row.paired.low, row.paired.high) == pytest.approx(
        (row.paired.difference - half, row.paired.difference + half), abs=1e-6
    )
    assert (row.paired.p, row.p_holm) == (None, None)
    assert row.paired.p_permutation == pytest.approx(2 / 2**units)
    assert to_rows([row])[0]["interval_over"] == "own test texts"
    said = f"{units} units are too few (from 12) for an interval over them and for a test other than sign flips"
    for shown in (to_text, to_terminal):
        text = " ".join(shown([row], [], "a", "bb").split())
        assert f"{said}: where one stands, it is over their own test texts." in text
        assert text.endswith(
            "better in 0 metrics, worse in 0, undecided in 0 (Holm, 5 %); 1 not tested (too few units)."
        )
    assert verdict(row) == "too few units"
    untold = [of(units, "a", 0.9, None), of(units, "bb", 0.5)]
    (row,), _ = compare(untold, untold, "a", "bb")
    assert (row.paired.low, row.paired.high, row.paired.p) == (None, None, None)
    assert to_rows([row])[0]["interval_over"] is None
    assert f"{said}.\n" in to_text([row], [], "a", "bb")


def test_compare_takes_the_errors_of_the_units_that_both_have():
    wide, narrow_ = of(11, "a", 0.9), of(4, "bb", 0.5)
    (row,), _ = compare([wide], [narrow_], "a", "bb")
    assert row.paired.n == 4
    half = Z * float(np.hypot(over_texts(4), over_texts(4)))
    assert row.paired.high == pytest.approx(row.paired.difference + half, abs=1e-6)


def test_compare_has_no_interval_where_records_do_not_count_the_same_units():
    values, weights = np.linspace(0.5, 0.8, 5)[:, None], np.array([1.0, 1.0, 0.0, 1.0, 1.0])[:, None]
    errors = {"auroc": np.full((5, 1), 0.02)}
    weightless = made_up("a", {"auroc": values}, weights=weights, errors=errors, seeds=(1,))
    (row,), _ = compare([weightless], [of(5, "bb")], "a", "bb")
    assert (row.paired.n, row.paired.low) == (4, None)
    elsewhere = of(5, "bb")
    elsewhere.per_unit["auroc"] = dataclasses.replace(elsewhere.per_unit["auroc"], units=list("abcde"))
    (row,), _ = compare([of(5)], [elsewhere], "a", "bb")
    assert (row.paired.n, row.paired.low) == (0, None)


def test_compare_from_twelve_units_on_is_over_units():
    records = [of(12, "a", 0.9), of(12, "bb", 0.5)]
    (row,), _ = compare(records, records, "a", "bb")
    assert row.p_holm is not None
    assert row.p_holm < 0.001
    assert row.paired.low is not None
    assert to_rows([row])[0]["interval_over"] == "units"
    for shown in (to_text, to_terminal):
        assert "too few" not in shown([row], [], "a", "bb")
    single = [of(1, "a", 0.9), of(1, "bb", 0.5)]
    (row,), _ = compare(single, single, "a", "bb")
    assert row.paired.p == pytest.approx(2 * scipy.stats.norm.sf(abs(row.paired.difference) / (0.02 * 2**0.5)))
    assert "too few" not in to_text([row], [], "a", "bb")
