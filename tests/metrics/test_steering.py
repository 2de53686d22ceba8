"""Formulas of steering by hand, and what must not matter."""

import math

import pytest
import torch

from saebench_lite.metrics.steering import degenerate, fluency, harmonic_mean, output_score, within_budget


def test_fluency_is_a_ratio_of_perplexities():
    got = fluency(torch.tensor([3.0, 2.0, 1.0]), 2.0)
    assert got.tolist() == pytest.approx([math.exp(2) / math.exp(3), 1.0, 1.0])


def test_harmonic_mean():
    a, b = torch.tensor([0.5, 0.0, 0.0, 1.0]), torch.tensor([1.0, 1.0, 0.0, 1.0])
    assert harmonic_mean(a, b).tolist() == pytest.approx([2 / 3, 0, 0, 1])
    assert harmonic_mean(b, a).tolist() == harmonic_mean(a, b).tolist()


def test_repetition_is_degenerate():
    rows = torch.tensor([[[1, 1, 1, 1, 1], [1, 2, 3, 4, 5]], [[1, 2, 1, 2, 1], [1, 2, 1, 2, 3]]])
    assert degenerate(rows).tolist() == [[True, False], [False, False]]  # 1/4, 1; 2/4, 3/4
    assert degenerate(rows + 7).tolist() == degenerate(rows).tolist()
    assert degenerate(torch.tensor([5])).item() is False


def test_output_score_by_hand():
    """Best rank 3 of 50,000 tokens, largest probability .12 among the raised ones."""
    p = torch.full((50_000,), 1e-6)
    p[[10, 20, 30, 40]] = torch.tensor([0.3, 0.2, 0.15, 0.12])
    assert output_score(p, torch.tensor([40, 99])).item() == pytest.approx(0.1199928, rel=1e-6)
    flipped = output_score(p.flip(0), 49_999 - torch.tensor([40, 99]))
    assert flipped.item() == pytest.approx(0.1199928, rel=1e-6)


def test_largest_presence_within_a_budget():
    presence, excess = torch.tensor([0.1, 0.6, 0.9]), torch.tensor([0.0, 0.5, 2.0])
    assert [within_budget(presence, excess, b) for b in (-1.0, 0.1, 0.5, 9.0)] == [None, 0, 1, 2]
