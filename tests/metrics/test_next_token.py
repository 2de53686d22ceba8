"""Losses and divergences of next-token predictions, beside a float64 reference."""

import pytest
import torch

from saebench_lite.metrics.next_token import comparable, losses, losses_and_divergence
from tests.reference.figures import divergence


def test_divergence_stays_finite_where_probabilities_vanish():
    a, b = torch.tensor([[[0.0, 500.0]] * 2]), torch.tensor([[[500.0, 0.0]] * 2])
    ids = torch.zeros(1, 2, dtype=torch.long)
    p = comparable(a)
    assert losses_and_divergence(p, b, ids)[1].item() == pytest.approx(500.0)
    assert losses_and_divergence(p, a, ids)[1].item() == 0.0


def test_both_figures_of_a_splice_equal_each_by_itself():
    g = torch.Generator().manual_seed(5)
    clean, spliced = torch.randn(2, 7, 11, generator=g), torch.randn(2, 7, 11, generator=g)
    ids = torch.randint(0, 11, (2, 7), generator=g)
    loss, gap = losses_and_divergence(comparable(clean), spliced, ids)
    torch.testing.assert_close(loss, losses(spliced, ids), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gap, divergence(clean[:, :-1], spliced[:, :-1]), rtol=1e-6, atol=1e-6)
