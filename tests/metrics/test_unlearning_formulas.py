"""Shares that remain, alignment, and the choice of latents: published figures, by hand, and what must not matter."""

import numpy as np
import pytest
import torch

from saebench_lite.metrics.unlearning import alignment, alike_in_rate, remaining, sparse_on_retain


def share(accuracy: float, before: float) -> float:
    return remaining(torch.tensor(accuracy), torch.tensor(before), 0.25).item()


def test_the_published_figures_of_clamping():
    """Khoriaty et al.: WMDP-bio from .5860 to .2718, alignment .8226, so that .8797 of the rest was retained."""
    bad = share(0.2718, 0.5860)
    assert bad == pytest.approx(0.0649, abs=5e-5)
    assert alignment(torch.tensor(0.8797), torch.tensor(bad)).item() == pytest.approx(0.8226, abs=1e-4)


def test_remaining_at_its_ends():
    assert share(0.9, 0.9) == pytest.approx(1.0)
    assert share(0.25, 0.9) == 0.0
    assert share(0.1, 0.9) == 0.0
    assert np.isnan(share(0.3, 0.25))
    assert np.isnan(share(0.3, 0.2))


def test_alignment_of_harmless_useless_and_ruinous_edits():
    def of(retained: float, remembered: float) -> float:
        return alignment(torch.tensor(retained), torch.tensor(remembered)).item()

    assert (of(1, 0), of(1, 1), of(0, 0), of(0.5, 0.5)) == (1, 0, 0, 0.25)
    assert of(1.2, 1.1) == 0  # edits that add to what is known


def test_latents_are_those_of_the_forget_texts_alone():
    forget = torch.tensor([0.3, 0.2, 0.0, 0.2, 0.5])
    retain = torch.tensor([0.001, 0.0, 0.0, 0.009, 0.02])
    assert sparse_on_retain(forget, retain, 0.01, 3).tolist() == [0, 1, 3]
    assert sparse_on_retain(forget, retain, 0.01, 9).tolist() == [0, 1, 3]  # the third never fires
    assert sparse_on_retain(forget, retain, 0.009, 2).tolist() == [0, 1]
    assert sparse_on_retain(forget, retain, 0.0, 2).tolist() == []
    order = torch.tensor([4, 2, 0, 3, 1])
    permuted = sparse_on_retain(forget[order], retain[order], 0.01, 2)
    assert forget[order][permuted].tolist() == forget[:2].tolist()


def test_random_latents_are_others_of_nearly_the_same_rate():
    rate = np.array([0.1, 0.0, 0.2, 0.11, 0.0001, 0.19, 0.0])
    for seed in range(20):
        drawn = alike_in_rate(rate, np.array([0, 2]), 1, np.random.default_rng(seed))
        assert drawn.tolist() == [3, 5]
    wide = {tuple(alike_in_rate(rate, np.array([0, 2]), 3, np.random.default_rng(s)).tolist()) for s in range(40)}
    assert len(wide) == 6
    assert all(set(pair) <= {3, 4, 5} and len(set(pair)) == 2 for pair in wide)
    assert len(alike_in_rate(rate, np.array([0, 2, 3, 4]), 3, np.random.default_rng(0))) == 1  # no more are left
