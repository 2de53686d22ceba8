"""Correlations within L0 levels and their intervals over architectures, against scipy and by hand."""

import numpy as np
import pytest
from scipy import stats as reference

from saebench_lite.audit import correlations
from saebench_lite.audit import within as tested
from saebench_lite.audit.within import Site, composite, leads, pooled, spreads, within, within_draws


def draw(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def rho(x, y) -> float:
    return float(np.asarray(reference.spearmanr(x, y))[0])


def test_mean_rank_by_hand():
    assert correlations.mean_rank(np.array([[1.0, 2, 3], [3, 1, 2]])).tolist() == [2, 1.5, 2.5]


def test_bootstrap_is_the_correlation_of_subjects_drawn_with_replacement():
    r = np.random.default_rng(4)
    x, y = r.integers(6, size=12).astype(float), r.random(12)
    got = correlations.bootstrap_spearman([x, y, np.ones(12)], y, "seed", draws=50)
    drawn = correlations.rng("audit bootstrap", "seed").integers(12, size=(50, 12))
    assert got[:, 0] == pytest.approx([rho(x[s], y[s]) for s in drawn])
    assert got[:, 1] == pytest.approx(np.ones(50))
    assert (got[:, 2] == 0).all()  # orders nothing
    assert np.isnan(correlations.bootstrap_spearman([x], np.ones(12), "seed", draws=3)).all()


def test_within_is_the_mean_of_the_levels_correlations():
    x, y = draw(0, 3, 6), draw(1, 3, 6)
    assert within(x, y) == pytest.approx(np.mean([rho(a, b) for a, b in zip(x, y, strict=True)]))
    assert within(np.exp(x) + np.arange(3)[:, None], y) == pytest.approx(within(x, y))  # levels may lie apart
    order = np.random.default_rng(0).permutation(6)
    assert within(x[::-1, order], y[::-1, order]) == pytest.approx(within(x, y))
    x[0] = 1.0  # orders nothing there
    assert within(x, y) == pytest.approx(np.mean([0.0, *(rho(a, b) for a, b in zip(x[1:], y[1:], strict=True))]))
    y[0] = 1.0  # says nothing there
    assert within(x, y) == pytest.approx(np.mean([rho(a, b) for a, b in zip(x[1:], y[1:], strict=True)]))


def test_architectures_are_drawn_with_all_their_levels():
    x, y = draw(2, 3, 6), draw(3, 3, 6)
    got = within_draws([x], y)[:40, 0]
    drawn = correlations.rng("audit bootstrap", tested.SEED).integers(6, size=(correlations.DRAWS, 6))[:40]
    assert got == pytest.approx([within(x[:, s], y[:, s]) for s in drawn])


def test_composite_is_the_mean_rank():
    truths = [draw(i, 3, 6) for i in range(3)]
    expected = np.mean([reference.rankdata(t) for t in truths], axis=0)
    np.testing.assert_allclose(composite(truths).ravel(), expected)
    np.testing.assert_allclose(composite([np.exp(t) for t in truths]), composite(truths))


def test_spreads_along_each_axis():
    x = np.array([[0.0], [2.0], [4.0]]) + np.zeros((3, 6))
    assert spreads(x) == (2.0, 0.0)
    assert spreads(x.T) == (0.0, 2.0)
    assert np.isnan(spreads(x[:1])[0])


def test_a_lead_is_drawn_for_both_at_once():
    y = draw(5, 3, 6)
    sites = [Site({"best": y, "same": 3 * y, "noisy": y + 2 * draw(6, 3, 6)}, y)]
    rhos, ahead = pooled(sites, ["best", "noisy"]), leads(sites, "best", ["same", "noisy"])
    assert rhos["best"] == (1.0, 1.0, 1.0)
    assert ahead["same"] == (0.0, 0.0, 0.0)
    assert ahead["noisy"].value == pytest.approx(1 - rhos["noisy"].value)
    assert ahead["noisy"].low == pytest.approx(1 - rhos["noisy"].high)
    back = leads(sites, "noisy", ["best"])["best"]
    assert back == pytest.approx((-ahead["noisy"].value, -ahead["noisy"].high, -ahead["noisy"].low))


def test_over_sites_the_same_architectures_are_drawn():
    y = draw(7, 3, 6)
    one, opposite = Site({"m": y}, y), Site({"m": -y}, y)
    assert pooled([one, opposite], ["m"])["m"] == pytest.approx((0.0, 0.0, 0.0))  # every draw cancels
