"""The gate holds SAEs against each other on common units where one has no value on a unit that it was scored on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from saebench_lite.records.record import Record
from saebench_lite.report.regression import Check, Finding, check
from tests.helpers.record_factory import made_up

LETTERS = 20
DRAWN = np.random.default_rng(0)
F1 = DRAWN.normal(0.6, 0.05, size=(LETTERS, 1))
LOSS = DRAWN.normal(0.3, 0.05, size=(LETTERS, 1))


def sae(name: str, *lacking: int, loss: np.ndarray = LOSS, absent: bool = True, seed: int = 0) -> Record:
    """An SAE without a loss on some letters, which are absent from the metric or stand there without a value."""
    rest = np.setdiff1d(np.arange(LETTERS), lacking)
    kept = loss.copy()
    kept[list(lacking)] = np.nan
    record = made_up(
        name, {"auroc": F1, "delta": kept}, seeds=(), fingerprint=f"{name} {lacking}", meta={"recipe": {"seed": seed}}
    )
    if absent:
        stored = record.per_unit["delta"]
        short = made_up("x", {"delta": loss[rest]}, seeds=()).per_unit["delta"]
        units = [stored.units[i] for i in rest]
        record = dataclasses.replace(
            record, per_unit=record.per_unit | {"delta": dataclasses.replace(short, units=units)}
        )
    return record


def of_loss(result: Check) -> Finding:
    (finding,) = (f for f in result.findings if f.metric == "delta")
    return finding


@pytest.mark.parametrize("absent", [True, False], ids=["absent", "without a value"])
def test_a_letter_that_one_has_no_value_on_is_left_out_of_both(absent):
    loss = LOSS.copy()
    loss[3], loss[7] = 9.0, -9.0  # on letters that the other side lacks
    result = check([sae("a", 3, loss=loss, absent=absent)], [sae("a", 7, absent=absent, loss=loss)])
    assert result.problems == []
    found = of_loss(result)
    common = np.delete(loss, [3, 7])
    assert (found.before, found.after) == pytest.approx((common.mean(), common.mean()))
    assert (found.gain, found.units, found.verdict) == (pytest.approx(0.0, abs=1e-12), LETTERS - 2, "ok")
    said = "sparse_probing delta is judged on the 18 of 20 units with a value in all (not u3, u7)"
    assert any(said in note for note in result.notes)


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


@pytest.mark.parametrize(("lacking", "refused"), [(4, False), (5, True)])
def test_with_too_few_common_letters_nothing_is_compared(lacking, refused):
    result = check([sae("a", *range(lacking))], [sae("a")])
    assert bool(result.problems) is refused
    if refused:
        assert "delta has values on 15 of the baseline's 20 units" in result.problems[0]


def test_a_letter_that_was_not_scored_at_all_is_missed():
    record = sae("a", 3)
    dropped = made_up("x", {"auroc": F1[:-1]}, seeds=()).per_unit["auroc"]
    names = [u for i, u in enumerate(record.per_unit["auroc"].units) if i != 3]
    record = dataclasses.replace(
        record, per_unit=record.per_unit | {"auroc": dataclasses.replace(dropped, units=names)}
    )
    problems = check([record], [sae("a")]).problems
    assert any("delta has values on 19 of the baseline's 20 units" in p for p in problems)


def test_each_metric_has_its_sentence():
    def both(*lacking: int) -> Record:
        kept = 1 + LOSS
        kept[list(lacking)] = np.nan
        return made_up("a", {"auroc": F1, "delta": kept, "ratio": kept}, seeds=(), fingerprint=f"{lacking}")

    notes = check([both(3)], [both(7)]).notes
    assert [n.split()[2] for n in notes if "judged on" in n] == ["delta", "ratio"]


def test_no_sentence_where_all_have_every_letter():
    assert not any("judged on" in note for note in check([sae("a")], [sae("a")]).notes)


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
