"""Score formulas against scikit-learn and by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from saebench_lite.metrics.classification import accuracy, auroc, best_f1_threshold, f1


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30), st.lists(st.integers(-3, 3), min_size=1, max_size=30))
def test_auroc_matches_scikit_learn_with_ties(positive, negative):
    ours = auroc(torch.tensor(positive, dtype=torch.float32), torch.tensor(negative, dtype=torch.float32))
    labels = [1] * len(positive) + [0] * len(negative)
    assert ours.item() == pytest.approx(reference.roc_auc_score(labels, positive + negative), abs=1e-12)


def test_auroc_is_batched_and_ignores_monotone_changes():
    g = torch.Generator().manual_seed(0)
    p, q = torch.randn(4, 5, 30, generator=g), torch.randn(4, 5, 20, generator=g)
    whole = auroc(p, q)
    assert whole.shape == (4, 5)
    assert whole[2, 3] == auroc(p[2, 3], q[2, 3])
    assert torch.equal(whole, auroc(p.exp(), q.exp()))
    torch.testing.assert_close(auroc(-p, -q), 1 - whole)


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=30))
def test_accuracy_and_f1_match_scikit_learn(rows):
    scores, labels = torch.tensor([float(s) for s, _ in rows]), torch.tensor([b for _, b in rows])
    said = (scores > 0).numpy()
    assert accuracy(scores, labels).item() == pytest.approx(reference.accuracy_score(labels, said))
    assert f1(scores, labels).item() == pytest.approx(reference.f1_score(labels, said, zero_division=0.0))  # type: ignore


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=25))
def test_best_threshold_reaches_the_best_f1_there_is(rows):
    scores = torch.tensor([float(s) for s, _ in rows])
    labels = torch.tensor([b for _, b in rows])
    if not labels.any():
        return
    chosen = f1(scores, labels, best_f1_threshold(scores, labels)).item()
    every = [f1(scores, labels, t).item() for t in np.arange(-0.5, 6)]
    assert chosen == pytest.approx(max(every))
