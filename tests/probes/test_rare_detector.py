"""One latent as a detector: figures by hand, the shortlist against all latents, tests that no test row is read."""

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from saebench_lite.data.splits import detection_split
from saebench_lite.data.types import Corpus, Labelled
from saebench_lite.errors import SaebenchError
from saebench_lite.metrics.classification import best_rare_threshold, fires_rare_f1, rare_f1
from saebench_lite.probes.rare_detector import (
    PREVALENCE,
    SHORTLIST,
    Case,
    best_column,
    detectors,
    rare_figures,
    shortlist,
)


def reference(said: np.ndarray, labels: np.ndarray, prevalence: float) -> float:
    """scikit-learn's F1 with row weights that give the positives their share."""
    w = np.where(labels, prevalence / labels.sum(), (1 - prevalence) / (~labels).sum())
    return float(f1_score(labels, said, sample_weight=w))


def table(n=300, m=90, seed=0):
    g = torch.Generator().manual_seed(seed)
    labels = torch.rand(n, generator=g) < 0.3
    codes = torch.relu(torch.randn(n, m, generator=g) - 0.5) + labels[:, None] * torch.rand(m, generator=g)
    return codes.round(decimals=1), labels  # ties on purpose


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


class Table:
    """Columns at hand, some at a time."""

    def __init__(self, codes, runs):
        self.codes, self.runs = codes, runs

    def columns(self, latents):
        for run in latents.split(self.runs):
            yield run, {"mean": self.codes[:, run]}


def test_best_column_is_the_best_of_all():
    codes, labels = table()
    score, latent = best_column(codes[:150], labels[:150])
    tuned, _ = best_rare_threshold(codes[:150], labels[:150], PREVALENCE)
    every = (fires_rare_f1(codes[:150], labels[:150], PREVALENCE) + tuned) / 2
    assert score == pytest.approx(every.max().item())
    assert every[latent] == every.max()


@pytest.mark.parametrize("width", [1, 7, 50, 400])
def test_the_detector_does_not_depend_on_blocks_nor_on_test_rows(width):
    codes, labels = table(m=400)
    codes[:, 200:] = codes[:, :200]  # ties on purpose
    rows = torch.randperm(300, generator=torch.Generator().manual_seed(1))
    case = Case(rows, labels[rows], 150)

    def chosen(codes, width):
        short = None
        for low in range(0, 400, width):
            short = shortlist(codes[:, low : low + width], low, case, short)
        assert short is not None
        (one,) = detectors(Table(codes, width), "mean", [case], [short])  # type: ignore[arg-type]
        return one, short

    (want, short), (got, again) = chosen(codes, 400), chosen(codes, width)
    assert (got.score, got.latent) == (want.score, want.latent)
    assert got.latent < 200
    assert torch.equal(again.latents, short.latents)
    assert SHORTLIST < len(short.latents) < 400
    assert torch.equal(got.column, codes[rows, got.latent])
    changed = codes.clone()
    changed[rows[150:]] = 7.0
    assert chosen(changed, width)[0].latent == want.latent


def test_figures_scale_and_dead_latents():
    codes, labels = table()
    args = codes[:150, 0], labels[:150], codes[150:, 0], labels[150:]
    got = rare_figures(*args)
    assert got["rare_f1"] == pytest.approx((got["rare_f1_fires"] + got["rare_f1_tuned"]) / 2)
    assert rare_figures(args[0] * 8, args[1], args[2] * 8, args[3]) == got
    probe = rare_figures(args[0] - 0.3, args[1], args[2] - 0.3, args[3], has_zero=False)
    assert probe["rare_f1"] == probe["rare_f1_fires"] == pytest.approx(got["rare_f1_tuned"])
    dead = torch.zeros(150)
    assert rare_figures(dead, labels[:150], dead, labels[150:])["rare_f1_fires"] == 0


def test_detection_split_keeps_class_sizes():
    corpus = Corpus("c", tuple(f"t{i}" for i in range(400)))
    positive = np.arange(400) < 60
    labelled = Labelled("d", corpus, np.arange(400), positive)
    split = detection_split(labelled, 1)
    assert positive[split.train].sum() == positive[split.test].sum() == 30
    assert len(split.train) == len(split.test) == 200
    assert not set(split.train) & set(split.test)
    assert (
        detection_split(labelled, 1).train.tolist()
        == split.train.tolist()
        != detection_split(labelled, 2).train.tolist()
    )
    part = np.where(np.arange(400) % 4 == 0, "test", "train")
    parted = detection_split(Labelled("d", corpus, np.arange(400), positive, part), 1)
    assert set(part[parted.train]) == {"train"}
    assert set(part[parted.test]) == {"test"}
    with pytest.raises(SaebenchError, match="has 3 positive texts"):
        detection_split(Labelled("d", corpus, np.arange(400), np.arange(400) < 3), 1)
