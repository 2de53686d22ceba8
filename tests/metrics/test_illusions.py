"""Precision against recall, families and injected tokens: worked examples and invariance."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from saebench_lite.metrics.illusions import family_size, injected_share, precision_at, rate_over


def test_rates_and_precision():
    assert rate_over(torch.tensor([0.0, 1.0, 2.0, 3.0]), 1.0) == 0.5
    assert math.isnan(rate_over(torch.empty(0), 1.0))
    assert precision_at(0.8, 0.1, 0.05) == pytest.approx(0.04 / (0.04 + 0.095))
    assert precision_at(0.6, 0.0, 0.05) == 1.0
    assert math.isnan(precision_at(0.0, 0.0, 0.05))


def test_a_split_concept_needs_its_parts():
    """Three latents that fire on 5, 3 and 2 of ten positives, and one that fires on all texts."""
    columns = torch.zeros(30, 4)
    columns[:5, 0], columns[5:8, 1], columns[8:10, 2], columns[:, 3] = 1.0, 2.0, 3.0, 4.0
    positive = torch.arange(30) < 10
    assert [family_size(columns, positive, 0.0, recall) for recall in (0.5, 0.6, 0.8, 0.9, 1.0)] == [1, 2, 2, 3, 3]
    assert family_size(columns[:, :2], positive, 0.0, 0.9) == 3  # both fall short
    assert family_size(5 * columns[:, [3, 2, 1, 0]], positive, 0.0, 0.9) == 3
    noisy = columns.clone()
    noisy[20, 0] = 0.5  # below the latent's codes on positives
    assert family_size(noisy, positive, 0.0, 0.5) == 1
    noisy[20, 0] = 1.5  # above them: no use unless one false alarm is allowed
    assert family_size(noisy, positive, 0.0, 0.5) == 2
    assert family_size(noisy, positive, 0.05, 0.5) == 1


def test_the_greedy_family_is_near_the_smallest():
    g = torch.Generator().manual_seed(1)
    for _ in range(5):
        columns = (torch.rand(40, 6, generator=g) < 0.35).float()
        positive = torch.arange(40) < 20
        columns[~positive] = 0.0
        fires = columns[positive] > 0
        best = next(
            (n for n in range(1, 7) for c in itertools.combinations(range(6), n) if fires[:, c].any(1).sum() >= 16), 7
        )
        assert best <= family_size(columns, positive, 0.0, 0.8) <= best + 1


def test_injected_share():
    assert injected_share(3.0, 1.0, 5.0) == 0.5
    assert injected_share(9.0, 1.0, 5.0) == 1.0
    assert injected_share(0.5, 1.0, 5.0) == 0.0
    assert math.isnan(injected_share(3.0, 5.0, 5.0))
