"""Intra-class correlation and its consequence on planted clusters."""

import numpy as np
import pytest

from tests.experiments.topic_clusters import error_ratio, intra_class


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
def test_planted_share_of_variance_comes_back(share):
    """A share of the variance lies between classes: rho equals it, and the error grows by sqrt(1 + (m - 1) rho)."""
    rng = np.random.default_rng(4)
    topic = np.repeat(np.arange(400), 9)
    x = np.sqrt(share) * rng.normal(size=400)[topic] + np.sqrt(1 - share) * rng.normal(size=len(topic))
    assert intra_class(x, topic) == pytest.approx(share, abs=0.05)
    assert intra_class(3 * x + 7, topic) == pytest.approx(intra_class(x, topic))
    assert error_ratio(x, topic, rng) == pytest.approx(np.sqrt(1 + 8 * share), rel=0.08)
