"""The gate holds SAEs against each other on common units where one has no value on a unit that it was scored on."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from saebench_lite.records.record import Record
from saebench_lite.report.compare import compare
from saebench_lite.report.findings import Check, Finding
from saebench_lite.report.regression import check
from saebench_lite.report.regression_ci import to_benchmark, to_junit
from saebench_lite.report.regression_text import to_markdown, to_text
from tests.helpers.record_factory import made_up

LETTERS = 20
DRAWN = np.random.default_rng(0)
F1 = DRAWN.normal(0.6, 0.05, size=(LETTERS, 1))
LOSS = DRAWN.normal(0.3, 0.05, size=(LETTERS, 1))


def left_out(record: Record, metric: str, *lacking: int) -> Record:
    """The record with a metric that does not hold some units."""
    stored = record.per_unit[metric]
    rest = [i for i in range(len(stored.units)) if i not in lacking]
    values = np.array(stored.values)[rest]
    seeds = tuple(record.seeds)
    short = made_up("x", {metric: values}, seeds=seeds)
    units = dataclasses.replace(short.per_unit[metric], units=[stored.units[i] for i in rest])
    scores = record.scores | {metric: short.scores[metric]}
    return dataclasses.replace(record, per_unit=record.per_unit | {metric: units}, scores=scores)


def sae(name: str, *lacking: int, loss: np.ndarray = LOSS, metric: str = "delta", seed: int = 0) -> Record:
    """An SAE whose loss leaves out some letters."""
    print_of = f"{name} {lacking} {loss.sum()}"
    values = {"auroc": F1, metric: loss}
    return left_out(
        made_up(name, values, seeds=(), fingerprint=print_of, meta={"recipe": {"seed": seed}}), metric, *lacking
    )


def of_loss(result: Check) -> Finding:
    (finding,) = (f for f in result.findings if f.metric == "delta")
    return finding


def test_a_letter_that_one_leaves_out_is_left_out_of_both():
    loss = LOSS.copy()
    loss[3], loss[7] = 9.0, -9.0  # on letters that the other side lacks
    result = check([sae("a", 3, loss=loss)], [sae("a", 7, loss=loss)])
    assert result.problems == []
    found = of_loss(result)
    common = np.delete(loss, [3, 7])
    assert (found.before, found.after) == pytest.approx((common.mean(), common.mean()))
    assert (found.gain, found.units, found.verdict) == (pytest.approx(0.0, abs=1e-12), LETTERS - 2, "ok")
    said = "sparse_probing delta is judged on the 18 of 20 units with a value in all (not u3, u7)"
    assert any(said in note for note in result.notes)


def test_a_letter_without_a_value_is_missed():
    """The metric was asked for there."""
    kept = LOSS.copy()
    kept[3] = np.nan
    new = made_up("a", {"auroc": F1, "delta": kept}, seeds=(), fingerprint="new")
    assert "delta has values on 19 of the baseline's 20 units" in check([new], [sae("a")]).problems[0]


def test_equal_weights_have_equal_letters():
    """Where they have not, the code of the evaluation has changed."""
    new = left_out(sae("a"), "delta", 3)
    assert "delta has values on 19 of the baseline's 20 units" in check([new], [sae("a")]).problems[0]


@pytest.mark.parametrize("retrained", [False, True])
def test_what_is_best_at_one_is_turned_by_common_letters(retrained):
    """An outlier on a letter that the other side leaves out does not make a loss a gain."""
    near = 1.0 + (LOSS - LOSS.mean()) / 10
    far = near - 0.3
    far[3] = 9.0  # the mean of all is above 1
    earlier = [[sae("a", 3, loss=near + i / 1000, metric="ratio", seed=i)] for i in range(3 if retrained else 1)]
    new = sae("a", loss=far, metric="ratio", seed=9)
    (found,) = (f for f in check([new], *earlier).findings if f.metric == "ratio")
    assert found.after == pytest.approx(np.delete(far, 3).mean())
    assert found.gain == pytest.approx(-0.3, abs=0.02)
    assert found.verdict == "worse"
    rows, _ = compare([new], earlier[0], "a", "a")
    (row,) = (r for r in rows if r.metric == "ratio")
    assert row.paired.difference == pytest.approx(-0.3, abs=0.02)


def test_a_loss_on_common_letters_is_worse():
    drop = LOSS + DRAWN.normal(0.3, 0.02, size=LOSS.shape)
    found = of_loss(check([sae("a", 3, loss=drop)], [sae("a", 7)]))
    assert found.verdict == "worse"
    assert found.after - found.before == pytest.approx(-found.gain)


def test_retrained_saes_are_held_against_each_other_on_the_letters_of_all():
    earlier = [[sae("a", i, seed=i, loss=LOSS + i / 1000)] for i in (1, 2, 3)]
    result = check([sae("a", 4, seed=4, loss=LOSS + 0.002)], *earlier)
    assert result.problems == []
    assert of_loss(result).units == LETTERS - 4
    assert of_loss(result).before == pytest.approx(np.delete(LOSS, [1, 2, 3, 4]).mean() + 0.002)


@pytest.mark.parametrize(("lacking", "refused"), [(10, False), (11, True)])
def test_with_too_few_common_letters_nothing_is_compared(lacking, refused):
    result = check([sae("a", *range(lacking))], [sae("a")])
    assert bool(result.problems) is refused
    if refused:
        assert "delta has values on 9 of the baseline's 20 units" in result.problems[0]


def test_more_baselines_and_more_letters_of_the_new_sae_do_not_refuse():
    """Half of the letters of the baseline with the fewest must be common: 9 of 15 here, which are under half of 20."""
    earlier = [[sae("a", *range(i, i + 3), 19, 18, seed=i)] for i in (0, 3, 6)]
    result = check([sae("a", seed=9)], *earlier)
    assert result.problems == []
    assert of_loss(result).units == 9


def test_a_letter_that_was_not_scored_at_all_is_missed():
    problems = check([left_out(sae("a", 3), "auroc", 3)], [sae("a")]).problems
    assert any("delta has values on 19 of the baseline's 20 units" in p for p in problems)


def test_each_metric_has_its_sentence():
    def both(*lacking: int) -> Record:
        values = {"auroc": F1, "delta": LOSS, "ratio": 1 + LOSS}
        record = made_up("a", values, seeds=(), fingerprint=f"{lacking}")
        return left_out(left_out(record, "delta", *lacking), "ratio", *lacking)

    notes = check([both(3)], [both(7)]).notes
    assert [n.split()[2] for n in notes if "judged on" in n] == ["delta", "ratio"]


def test_no_sentence_where_all_have_every_letter():
    assert not any("judged on" in note for note in check([sae("a")], [sae("a")]).notes)


def shifted(name: str, *lost: tuple[int, int], seeds: tuple[int, ...] = (1, 2, 3), **other) -> Record:
    """An SAE whose loss is far greater under the third evaluation seed, without the values (letter, seed) of `lost`."""
    x = np.concatenate([LOSS, LOSS, LOSS + 0.5], axis=1)
    for place in lost:
        x[place] = np.nan
    return made_up(name, {"auroc": np.repeat(F1, 3, 1), "delta": x}, seeds=seeds, **other)


def without_seed(record: Record) -> Record:
    """The record with a metric that holds no value under the third seed at all."""
    short = made_up("x", {"delta": np.array(record.per_unit["delta"].values)[:, :2]}, seeds=(1, 2))
    scores, values = (record.scores | short.scores), (record.per_unit | short.per_unit)
    return dataclasses.replace(record, scores=scores, per_unit=values)


LOST = "sparse_probing delta is judged at the units and seeds where both have a value; one lacks some on"


@pytest.mark.parametrize("lost", [((3, 2),), ((3, 2), (7, 2)), None], ids=["one", "two", "the seed"])
def test_a_value_lost_under_one_seed_moves_no_gain_and_is_told(lost):
    whole = shifted("a", fingerprint="old")
    new = without_seed(shifted("a", fingerprint="new")) if lost is None else shifted("a", *lost, fingerprint="new")
    units = {1: "1 unit (u3)", 2: "2 units (u3, u7)", 0: "20 units (u0, u1, u10, u11, u12)"}[len(lost or ())]
    for result in (check([new], [whole]), check([whole], [new])):
        assert of_loss(result).gain == pytest.approx(0.0, abs=1e-12)
        assert of_loss(result).remarks == (f"a: {LOST} {units}",)
        assert f"a: {LOST} {units}" in result.notes
    assert of_loss(check([whole], [whole])).remarks == ()


def test_of_retrained_saes_and_of_other_seeds_a_lost_value_is_told_to_move_the_gain():
    said = "delta lacks values under some evaluation seeds on 1 unit (u3) in some records alone; means over fewer seeds"
    earlier = [[shifted("a", fingerprint=f"{i}")] for i in range(3)]
    whole, new = shifted("a", fingerprint="new"), shifted("a", (3, 2), fingerprint="new")
    for base in (earlier, [[shifted("a", seeds=(7, 8, 9), fingerprint="old")]]):
        result = check([new], *base)
        moved = whole.scores["delta"].value - new.scores["delta"].value
        assert moved > 0.003
        assert of_loss(result).gain == pytest.approx(moved, rel=1e-6)
        (told,) = of_loss(result).remarks
        assert said in told
        assert of_loss(check([whole], *base)).remarks == ()
    all_lack = [[shifted("a", (3, 2), fingerprint=f"{i}")] for i in range(3)]
    assert of_loss(check([new], *all_lack)).remarks == ()


def test_values_under_no_common_seed_are_no_pass():
    """Each has a value on every letter."""
    ours = shifted("a", *((i, s) for i in range(LETTERS) for s in (1, 2)), fingerprint="new")
    theirs = shifted("a", *((i, 0) for i in range(LETTERS)), fingerprint="old")
    assert "delta has values under a seed of the baseline's on 0 of 20 units" in " ".join(
        check([ours], [theirs]).problems
    )
    some = shifted("a", *((i, s) for i in range(4) for s in (1, 2)), fingerprint="new")
    assert check([some], [theirs]).problems == []


def test_what_a_row_leaves_out_is_said_wherever_it_is_shown():
    worse = sae("a", 3, loss=LOSS + 0.3 + 0.02 * F1)
    result = check([worse], [sae("a", 7)])
    (told,) = of_loss(result).remarks
    assert "delta is judged on the 18 of 20 units with a value in all (not u3, u7)" in told
    for text in (to_text(result), to_text(result, every=True), to_markdown(result), to_junit(result)):
        assert text.count("delta is judged on the 18 of 20 units") == 1
    (row,) = (r for r in json.loads(to_benchmark(result, "smaller")) if "delta" in r["name"])
    assert row["extra"].endswith(told)
    passed = check([sae("a", 3)], [sae("a", 7)])
    assert "judged on" not in to_text(passed)
    assert f"and {len(passed.notes) + len(passed.caveats)} remarks." in to_text(passed)


@pytest.mark.parametrize("seeds", [(1, 2), (1, 3)], ids=["the same seeds", "other seeds"])
def test_before_and_after_are_apart_by_the_gain(seeds):
    """A value under one seed alone counts where the seeds of the two are others, which are paired over their means."""
    x = np.concatenate([LOSS, LOSS + 0.1], axis=1)
    ours, theirs = x + 0.01, x.copy()
    ours[2, 1] = np.nan
    new = made_up("a", {"auroc": x, "delta": ours}, seeds=seeds, fingerprint="new")
    found = of_loss(check([new], [made_up("a", {"auroc": x, "delta": theirs}, seeds=(1, 2), fingerprint="old")]))
    assert found.after - found.before == pytest.approx(-found.gain)
    keep = np.isfinite(ours) if seeds == (1, 2) else np.ones_like(ours, dtype=bool)
    assert found.before == pytest.approx(theirs[keep].mean())
