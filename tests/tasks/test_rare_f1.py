"""rare_f1, the probing score before average precision: figures by hand and against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from saebench_lite.metrics.classification import best_rare_threshold, fires_rare_f1, rare_f1
from saebench_lite.tasks.rival_scores import rare_f1_scores
from tests.probes.test_single_latent import table


def reference(said: np.ndarray, labels: np.ndarray, prevalence: float) -> float:
    """scikit-learn's F1 with row weights that give the positives their share."""
    w = np.where(labels, prevalence / labels.sum(), (1 - prevalence) / (~labels).sum())
    return float(f1_score(labels, said, sample_weight=w))


@pytest.mark.parametrize("prevalence", [0.01, 0.05, 0.5])
def test_rare_f1_is_weighted_f1(prevalence):
    codes, labels = table()
    got = fires_rare_f1(codes, labels, prevalence)
    tuned, threshold = best_rare_threshold(codes, labels, prevalence)
    for j in range(0, 90, 11):
        column = codes[:, j].numpy()
        assert got[j].item() == pytest.approx(reference(column != 0, labels.numpy(), prevalence))
        every = [reference(column > t, labels.numpy(), prevalence) for t in np.unique(column) - 0.05]
        assert tuned[j].item() == pytest.approx(max(every))
        assert reference(column > threshold[j].item(), labels.numpy(), prevalence) == pytest.approx(max(every))


def test_rare_f1_by_hand():
    assert rare_f1(torch.tensor(1.0), torch.tensor(0.0), 0.05).item() == 1
    assert rare_f1(torch.tensor(1.0), torch.tensor(1.0), 0.05).item() == pytest.approx(2 * 0.05 / 1.05)
    assert rare_f1(torch.tensor(0.0), torch.tensor(0.3), 0.05).item() == 0


def test_the_score_is_the_mean_of_both_halves():
    codes, labels = table()
    tuned, _ = best_rare_threshold(codes, labels, 0.05)
    want = (fires_rare_f1(codes, labels, 0.05) + tuned) / 2
    torch.testing.assert_close(rare_f1_scores(codes, labels, 0.05), want)
