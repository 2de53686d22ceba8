"""One latent as a detector: against numpy and scikit-learn, in any blocks, without a look at test rows."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from saebench_lite.data.splits import detection_split
from saebench_lite.data.types import Corpus, Labelled
from saebench_lite.errors import SaebenchError
from saebench_lite.metrics.classification import average_precision
from saebench_lite.metrics.resampling import average_precision_error
from saebench_lite.probes import latent_selection
from saebench_lite.probes.latent_selection import class_differences
from saebench_lite.probes.single_latent import PREVALENCE, Case, best_latents, rare_average_precision, rare_figures


def table(n=300, m=90, seed=0):
    g = torch.Generator().manual_seed(seed)
    labels = torch.rand(n, generator=g) < 0.3
    codes = torch.relu(torch.randn(n, m, generator=g) - 0.5) + labels[:, None] * torch.rand(m, generator=g)
    return codes.round(decimals=1), labels  # ties on purpose


@pytest.mark.parametrize("prevalence", [0.01, 0.05, 0.5])
def test_average_precision_is_scikit_learns_with_weights(prevalence):
    codes, labels = table()
    share = labels.double().mean().item()
    weight = np.where(labels, prevalence / share, (1 - prevalence) / (1 - share))
    got = average_precision(codes[labels].T, codes[~labels].T, prevalence)
    for j in range(0, 90, 11):
        want = average_precision_score(labels.numpy(), codes[:, j].numpy(), sample_weight=weight)
        assert got[j].item() == pytest.approx(want, rel=1e-12)


def test_average_precision_by_hand_and_its_chance_level():
    positive, negative = torch.tensor([3.0, 1.0]), torch.tensor([2.0, 0.0, 0.0, 0.0])
    second = 0.5 * 1 / (0.5 * 1 + 0.5 * 0.25)
    assert average_precision(positive, negative, 0.5).item() == pytest.approx((1 + second) / 2)
    assert average_precision(positive + 10, negative, PREVALENCE).item() == 1
    constant = average_precision(torch.ones(5), torch.ones(9), PREVALENCE)
    assert constant.item() == pytest.approx(PREVALENCE)


def test_figures_of_problems_of_any_sizes_are_those_of_each_alone():
    codes, labels = table()
    scores = [codes[:n, j] for n, j in ((300, 0), (200, 3), (300, 7))]
    got = rare_figures(scores, [labels[: len(s)] for s in scores])
    for figure, s in zip(got, scores, strict=True):
        of, sides = labels[: len(s)], (s[labels[: len(s)]], s[~labels[: len(s)]], PREVALENCE)
        assert figure[0] == rare_average_precision(s, of) == average_precision(*sides)
        assert figure[1] == average_precision_error(*sides) > 0


@pytest.mark.parametrize("prevalence", [0.05, 0.5])
def test_standardised_difference_is_cohens_d(prevalence):
    codes, labels = table()
    x, y = codes.double().numpy(), labels.numpy()
    within = prevalence * x[y].var(0) + (1 - prevalence) * x[~y].var(0)
    want = (x[y].mean(0) - x[~y].mean(0)) / np.sqrt(within)
    got = class_differences(codes, torch.arange(300), labels, "standardised", prevalence)
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_neither_scale_nor_a_leak_matters():
    codes, labels = table()
    want = class_differences(codes, torch.arange(300), labels, "standardised")
    for other in (codes * 8, codes.double() + 1e-6, codes + 2):
        torch.testing.assert_close(class_differences(other, torch.arange(300), labels, "standardised"), want)
    flat = torch.full((300, 2), 0.3)
    flat[:, 1] = 0
    assert class_differences(flat, torch.arange(300), labels, "standardised").abs().max() < 1e-6


@pytest.mark.parametrize("sets_together", [1, 5, 96])
def test_many_cases_are_judged_as_each_alone(sets_together, monkeypatch):
    """Against `class_differences` of each case; texts drawn several times, cases of several sizes and few texts."""
    monkeypatch.setattr(latent_selection, "SETS", sets_together)
    codes, labels = table(m=60)
    codes = torch.cat([codes, codes[:, :3], torch.zeros(300, 1), torch.full((300, 1), 0.3)], 1)
    g = torch.Generator().manual_seed(2)
    cases = []
    for n_train in (20, 150, 200, 150, 20, 41, 20):
        rows = torch.randint(300, (n_train + 30,), generator=g)
        positive = labels[rows] if len(cases) % 2 else torch.rand(len(rows), generator=g) < 0.2
        positive[:2] = torch.tensor([True, False])
        cases.append(Case(rows, positive, n_train))
    found = best_latents(codes, 0, cases)
    for case, one in zip(cases, found, strict=True):
        seen = case.rows[: case.n_train], case.positive[: case.n_train]
        want = class_differences(codes, *seen, "standardised", PREVALENCE)
        got = latent_selection.class_differences_of_sets(codes, [seen], PREVALENCE)[0]
        torch.testing.assert_close(got[:-1], want[:-1], rtol=1e-6, atol=0)
        assert got[-1].abs() < 1e-6  # a constant latent says nothing
        assert one.latent.item() == int(want[:-1].argmax())
        assert torch.equal(one.columns[:, 0], codes[case.rows, int(one.latent)])


@pytest.mark.parametrize("width", [1, 7, 50, 400])
def test_the_detector_does_not_depend_on_blocks_nor_on_test_rows(width):
    codes, labels = table(m=400)
    codes[:, 200:] = codes[:, :200]  # ties on purpose
    rows = torch.randperm(300, generator=torch.Generator().manual_seed(1))
    case = Case(rows, labels[rows], 150)

    def chosen(codes, width):
        best = []
        for low in range(0, 400, width):
            best = best_latents(codes[:, low : low + width], low, [case], best)
        return best[0]

    want, got = chosen(codes, 400), chosen(codes, width)
    assert torch.equal(got.latent, want.latent)
    assert got.latent.item() < 200
    assert torch.equal(got.columns[:, 0], codes[rows, int(got.latent)])
    changed = codes.clone()
    changed[rows[150:]] = 7.0
    assert torch.equal(chosen(changed, width).latent, want.latent)


def test_copies_with_raised_thresholds_do_not_pay():
    codes, labels = table()
    rows = torch.arange(300)
    case = Case(rows, labels, 150)
    ladder = torch.cat([codes, *((codes - t).relu() for t in (0.3, 0.6, 1.0))], 1)
    plain, edited = (best_latents(c, 0, [case])[0].columns[150:, 0] for c in (codes, ladder))
    before, after = (rare_average_precision(c, labels[150:]) for c in (plain, edited))
    assert after <= before + 1e-12


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
    assert len(np.unique(parted.train)) < len(parted.train)  # drawn with replacement
    other = detection_split(Labelled("d", corpus, np.arange(400), positive, part), 2)
    assert sorted(other.train) != sorted(parted.train)
    assert sorted(other.test) == sorted(parted.test)
    with pytest.raises(SaebenchError, match="has 3 positive texts"):
        detection_split(Labelled("d", corpus, np.arange(400), np.arange(400) < 3), 1)
