"""Spearman's correlation against scipy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from saebench_lite.stats.rank_correlation import ranks, spearman

PAIRS = st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=3, max_size=30)


@given(PAIRS)
def test_ranks_and_correlation_are_scipys(pairs):
    x, y = np.array(pairs, dtype=float).T
    np.testing.assert_allclose(ranks(x), scipy_stats.rankdata(x))
    if np.ptp(x) and np.ptp(y):
        assert spearman(x, y) == pytest.approx(float(np.asarray(scipy_stats.spearmanr(x, y))[0]))


def test_only_order_counts_and_nothing_orders_nothing():
    x, y = np.array([1.0, 5.0, 2.0, 8.0]), np.array([0.1, 0.4, 0.2, 0.3])
    assert spearman(np.exp(x), y) == spearman(x, y)
    assert spearman(x, -y) == pytest.approx(-spearman(x, y))
    assert np.isnan(spearman(x[:2], y[:2]))
    assert np.isnan(spearman(np.ones(4), y))
