"""Intervals over test texts, drawn from a population with known answers."""

import numpy as np
import pytest
import torch

from tests.experiments import text_coverage


def test_coverage_is_that_of_normal_scores_and_sees_an_error_that_is_too_small(monkeypatch):
    topic = np.repeat(np.arange(12), 60)
    g = torch.Generator().manual_seed(0)
    codes = torch.randn(len(topic), 12, generator=g).double() + 1.5 * torch.from_numpy(topic[:, None] == np.arange(12))
    monkeypatch.setattr(text_coverage, "DRAWS", 60)
    for shrink, least, most in ((1.0, 0.85, 1.0), (0.25, 0.2, 0.6)):
        monkeypatch.setattr(text_coverage, "sampling_sd", lambda e, w, by=shrink: by * np.sqrt((e**2).sum()) / len(e))
        held = text_coverage.of_sae(codes, topic, np.random.default_rng(1))
        assert {key[0] for key in held} == {"average precision", "AUROC", "accuracy", "F1"}
        for key, cases in held.items():
            inside, z, _ = np.array(cases, dtype=float).T
            assert least < inside.mean() <= most, key
            assert z.mean() == pytest.approx(0, abs=0.5 / shrink)


def test_the_page_tells_the_extremes():
    rows = [text_coverage.Row("AUROC", 1, 0.941, 1.0, 0.0, 9), text_coverage.Row("F1", 4, 0.962, 1.0, 0.1, 9)]
    text = text_coverage.page(rows, 40.0)
    assert "cover from 94.1 to 96.2 %" in text
    assert "| F1      | 4       | 0.962" in text
