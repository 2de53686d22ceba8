"""Likeness scores against scikit-learn and by hand."""

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from saebench_lite.metrics.interpretability import balanced_accuracy, example_auroc, example_scores, intruder_accuracy


def test_example_auroc_against_scikit_learn_in_float64():
    r = np.random.default_rng(0)
    cosines, firing, examples = r.standard_normal((30, 14)), r.random(30) < 0.4, r.random(14) < 0.5
    scores = [row[examples].mean() - row[~examples].mean() for row in cosines]
    got = example_auroc(*map(torch.from_numpy, (cosines, firing, examples)))
    assert got.item() == pytest.approx(roc_auc_score(firing, scores), abs=1e-12)


def test_example_scores_by_hand_and_ties_count_half():
    assert example_scores(torch.tensor([[0.5, 0.3]]), torch.tensor([[0.1, 0.1]])).tolist() == pytest.approx([0.3])
    firing = torch.tensor([True, False])
    assert example_auroc(torch.ones(2, 2), firing, firing).item() == 0.5
    assert example_auroc(torch.eye(2), firing, firing).item() == 1.0
    assert example_auroc(torch.eye(2), firing, ~firing).item() == 0.0  # examples of the other kind


def test_examples_and_queries_in_another_order_change_nothing():
    g = torch.Generator().manual_seed(0)
    cosines, firing, examples = torch.rand(12, 8, generator=g), torch.arange(12) < 5, torch.arange(8) < 4
    rows, columns = torch.randperm(12, generator=g), torch.randperm(8, generator=g)
    again = example_auroc(cosines[rows][:, columns], firing[rows], examples[columns])
    assert again == example_auroc(cosines, firing, examples)
    assert example_auroc(3 * cosines + 1, firing, examples) == example_auroc(cosines, firing, examples)


def alike(n: int, odd: int) -> torch.Tensor:
    """Cosines of n texts of which one is unlike the others."""
    cosines = torch.full((n, n), 0.8, dtype=torch.float64)
    cosines[odd], cosines[:, odd] = 0.1, 0.1
    return cosines.fill_diagonal_(1.0)


def test_the_odd_one_is_picked_and_an_encoder_that_says_nothing_is_at_chance():
    groups = torch.stack([alike(5, 2), alike(5, 0)])
    assert intruder_accuracy(groups, torch.tensor([2, 0])).item() == 1.0
    assert intruder_accuracy(groups, torch.tensor([2, 1])).item() == 0.5
    assert intruder_accuracy(torch.full((3, 5, 5), 0.3, dtype=torch.float64), torch.arange(3)).item() == pytest.approx(
        0.2
    )
    two = torch.eye(4, dtype=torch.float64)[None]
    two[0, :2, :2] = 1.0
    assert intruder_accuracy(two, torch.tensor([3])).item() == 0.5  # one of two that are unlike all
    assert intruder_accuracy(two, torch.tensor([0])).item() == 0.0


def test_a_texts_likeness_to_itself_does_not_count():
    cosines = alike(5, 1)
    cosines[1, 1] = 1e6
    assert intruder_accuracy(cosines[None], torch.tensor([1])).item() == 1.0


def test_balanced_accuracy_against_scikit_learn():
    r = np.random.default_rng(1)
    says, truth = r.random(40) < 0.6, r.random(40) < 0.3
    got = balanced_accuracy(torch.from_numpy(says).double(), torch.from_numpy(truth)).item()
    assert got == pytest.approx(balanced_accuracy_score(truth, says))


@pytest.mark.parametrize("answer", [1.0, 0.0, float("nan")])
def test_one_answer_to_all_is_at_chance(answer: float):
    assert balanced_accuracy(torch.full((10,), answer), torch.arange(10) < 3).item() == 0.5
