"""The threshold of a random dictionary: the k-th largest of many scores."""

import pytest
import torch

from saebench_lite.baselines import matched_random


@pytest.mark.parametrize("k", [1, 7, 500, 4_000, 4_999, 5_000])
@pytest.mark.parametrize("kind", ["normal", "ties", "sorted", "one value", "misleading"])
def test_the_kth_largest_is_that_of_sorting(kind, k, monkeypatch):
    """Also where the sample, every 100th, misleads and holds the largest alone."""
    monkeypatch.setattr(matched_random, "SAMPLED", 50)
    values = torch.randn(5_000, generator=torch.Generator().manual_seed(k))
    values = {
        "normal": values,
        "ties": values.round(decimals=1),
        "sorted": values.sort().values,
        "one value": torch.ones(5_000),
        "misleading": values + 10.0 * (torch.arange(5_000) % 100 == 0),
    }[kind]
    assert matched_random.largest(values, k) == values.sort(descending=True).values[k - 1]
