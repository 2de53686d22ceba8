"""Judgements of metrics by the truth of their construct."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from saebench_lite.audit import constructs, doses
from saebench_lite.audit.constructs import UnitTable, judge
from saebench_lite.audit.dose_truths import QUANTITIES


def made(values, units=20, noise=0.0, seed=0):
    """A metric whose units scatter about `values`, the same scatter in all dictionaries but for `noise`."""
    r = np.random.default_rng(seed)
    x = np.asarray(values)[:, None] + r.standard_normal(units) + noise * r.standard_normal((len(values), units))
    return UnitTable(x, np.ones_like(x))


def recovery(found):
    return {q: QUANTITIES[q].better * found[q] for q in ("best-latent AP", "MCC")}


def test_a_metric_that_is_the_truth_passes(true):
    todo, found = true
    for name in recovery(found):
        got = judge(made(found[name]), "higher", doses.series(todo), recovery(found))
        assert (got.quantity, got.own, got.others) == (name, "passes", "passes")
        asked = {c.series: c.asked for c in got.cells}
        assert asked["missing"] == asked["noisy"] == asked["merged"] == "follow"
        assert asked["leak"] == asked["dense"] == asked["dead"] == asked["shrunken"] == "flat"


def test_a_constant_a_reversed_and_a_density_metric_are_caught(true):
    todo, found = true
    series = doses.series(todo)
    constant = judge(made(np.full(len(todo), 0.5)), "higher", series, recovery(found))
    assert constant.own == "misses"
    reversed_ = judge(made(-found["best-latent AP"]), "higher", series, recovery(found))
    assert reversed_.own == "misses"
    assert all(c.verdict == "misses" for c in reversed_.cells if c.asked == "follow")
    density = judge(made(-found["log L0"]), "higher", series, recovery(found))
    assert density.own == "misses"
    assert {c.series for c in density.cells if c.asked == "flat" and c.verdict == "misses"} == {
        "dense",
        "leak",
        "norm_detecting",
    }
    mixed = judge(made(found["best-latent AP"] - 0.2 * found["log L0"]), "higher", series, recovery(found))
    assert mixed.own == "passes"
    assert mixed.others == "misses"


def test_an_uncertain_metric_is_open_and_one_without_direction_may_follow_either_way(true):
    todo, found = true
    series, truths = doses.series(todo), recovery(found)
    noisy = judge(made(found["best-latent AP"], noise=0.4), "higher", series, truths)
    assert "open" in [c.verdict for c in noisy.cells]
    assert judge(made(-found["MCC"]), "neither", series, truths).own == "passes"


def test_what_is_asked_depends_on_how_far_the_quantity_moves():
    truth = {"far": np.array([0.0, 0.5, 1.0]), "little": np.array([0.0, 0.05, 0.03]), "not": np.array([0.0, 0.01, 0.0])}
    truth["unknown"] = np.array([0.0, np.nan, 1.0])
    assert constructs.what_is_asked(truth) == {
        "far": "follow",
        "little": "nothing",
        "not": "flat",
        "unknown": "nothing",
    }


def test_resampled_figures_are_weighted_means_over_common_units():
    r = np.random.default_rng(0)
    table = UnitTable(r.random((3, 7)), r.random((3, 7)))
    table.values[1, 2] = np.nan
    got = constructs.resampled(table)
    keep = [0, 1, 3, 4, 5, 6]
    want = [np.average(table.values[i, keep], weights=table.weights[i, keep]) for i in range(3)]
    assert got[0] == pytest.approx(np.array(want))
    assert got.shape == (1 + constructs.DRAWS, 3)
    assert len(constructs.resampled(UnitTable(np.ones((3, 1)), np.ones((3, 1))))) == 1


def test_row_correlations_are_scipys():
    r = np.random.default_rng(1)
    rows, y = r.integers(0, 4, (20, 6)).astype(float), r.random(6)
    want = [spearmanr(row, y)[0] for row in rows]
    assert constructs.row_spearman(rows, y) == pytest.approx(np.array(want))
    assert constructs.row_spearman(np.ones((1, 6)), y)[0] == 0.0


def test_verdicts_together():
    assert constructs.together(["passes", "open", "misses"]) == "misses"
    assert constructs.together(["passes", "open"]) == "open"
    assert constructs.together(["passes", "passes"]) == "passes"
    assert constructs.together([]) == "open"
