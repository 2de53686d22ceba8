"""Best latents by average precision and tuned F1, against scikit-learn and by hand."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score

from saebench_lite.metrics.classification import average_precision, best_rare_threshold, rare_f1
from saebench_lite.probes import best_latents as best
from saebench_lite.probes.best_latents import Samples, best_latent_scores


def table(seed=0, n=200, m=5):
    """Codes, and concepts that each of them says something of."""
    g = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 6, (n, m), generator=g).float() * (torch.rand(n, m, generator=g) < 0.6)
    return codes, codes + 2 * torch.randn(n, m, generator=g) > 3


CODES, FIRES = table()
WHOLE = Samples(CODES, FIRES)
FIRST, SECOND = Samples(CODES[:100], FIRES[:100]), Samples(CODES[100:], FIRES[100:])


def precision(*args, **kwargs):
    return best_latent_scores(*args, **kwargs).precision


def tuned_f1(*args, **kwargs):
    return best_latent_scores(*args, **kwargs).f1


either = pytest.mark.parametrize("score", [precision, tuned_f1])


def test_the_best_latent_is_chosen_on_one_half_and_judged_on_the_other():
    got = best_latent_scores(FIRST, SECOND).precision
    for j in range(5):
        at = [average_precision_score(FIRES[:100, j].numpy(), CODES[:100, i].numpy()) for i in range(5)]
        want = average_precision_score(FIRES[100:, j].numpy(), CODES[100:, int(np.argmax(at))].numpy())
        assert got[j].item() == pytest.approx(want)


def test_latent_and_threshold_of_f1_are_chosen_on_one_half_and_judged_on_the_other():
    got = best_latent_scores(FIRST, SECOND).f1
    for j in range(5):
        tried = {
            (i, t): f1_score(FIRES[:100, j].numpy(), CODES[:100, i].numpy() > t)
            for i in range(5)
            for t in np.arange(-0.5, 5)[::-1]
        }
        i, t = max(tried, key=lambda key: tried[key])
        assert got[j].item() == pytest.approx(f1_score(FIRES[100:, j].numpy(), CODES[100:, i].numpy() > t))


@either
def test_neither_reads_where_a_code_is_zero(score):
    leaking = Samples(CODES.exp() + 1e-6, FIRES)
    torch.testing.assert_close(score(leaking, leaking), score(WHOLE, WHOLE))
    found = Samples(FIRES.float(), FIRES)
    assert score(found, found).tolist() == [1.0] * 5


@either
def test_a_prevalence_of_ones_own_is_that_of_repeated_negatives(score):
    """Every negative ten times over, at the share of positives that this makes."""
    codes, fires = CODES[:, :1], FIRES[:, :1]
    silent = ~fires[:, 0]
    many = Samples(torch.cat([codes, *[codes[silent]] * 9]), torch.cat([fires, *[fires[silent]] * 9]))
    rate = many.fires.double().mean().item()
    one = Samples(codes, fires)
    torch.testing.assert_close(score(one, one, rate), score(many, many))
    assert score(one, one, rate).item() < score(one, one).item()


def test_one_candidate_is_the_latent_with_the_largest_difference():
    codes = torch.cat([FIRES[:, :1].float() + 0.01, CODES], 1)
    samples = Samples(codes, FIRES[:, :1])
    assert best_latent_scores(samples, samples, candidates=1).precision.item() == 1


@either
def test_the_best_of_the_candidates_counts_and_not_the_one_with_the_largest_difference(score):
    """A latent that orders all samples right, but with a few codes far out, stands behind one that errs in some."""
    fires = torch.arange(200)[:, None] < 40
    errs = (fires[:, 0] & (torch.arange(200) >= 4)).float() + (torch.arange(200) >= 195).float()
    orders = torch.where(fires[:, 0], 1.0, 0.0)
    orders[0] = 1000.0
    samples = Samples(torch.stack([errs, orders], 1), fires)
    assert score(samples, samples).item() == pytest.approx(1.0)
    assert score(samples, samples, candidates=1).item() < 1.0


@pytest.mark.parametrize("prevalence", [None, 0.05])
@pytest.mark.parametrize("small", [False, True])
def test_scores_are_those_of_every_threshold_of_every_latent(prevalence, small, monkeypatch):
    """The formulas that read all samples, latent by latent; codes below 0 and ties; in one group and in many."""
    if small:
        monkeypatch.setattr(best, "SORTED", 150)
        monkeypatch.setattr(best, "TOGETHER", 150)
    codes, fires = table(seed=1, m=7)
    codes = codes - 2
    got = best_latent_scores(Samples(codes[:100], fires[:100]), Samples(codes[100:], fires[100:]), prevalence)
    for j in range(7):
        y, later = fires[:100, j], fires[100:, j]
        rate, later_rate = (t.double().mean().item() if prevalence is None else prevalence for t in (y, later))
        precision = average_precision(codes[:100][y].T, codes[:100][~y].T, rate)
        f1, threshold = best_rare_threshold(codes[:100], y, rate)
        i, k = (int(np.argmax(t.numpy().round(12))) for t in (precision, f1))
        judged = codes[100:, i]
        assert got.precision[j].item() == pytest.approx(average_precision(judged[later], judged[~later], later_rate))
        above = (codes[100:, k] > threshold[k]).double()
        want = rare_f1(above[later].mean(), above[~later].mean(), later_rate)
        assert got.f1[j].item() == pytest.approx(want.item())


@pytest.mark.parametrize("there", [True, False])
def test_a_concept_of_all_samples_or_none_is_refused_and_no_concepts_have_no_scores(there):
    odd = Samples(CODES, FIRES.index_fill(1, torch.tensor([2]), there))
    for pair in ((odd, WHOLE), (WHOLE, odd)):
        with pytest.raises(ValueError, match="in none or in all"):
            best_latent_scores(*pair)
    none = Samples(CODES, FIRES[:, :0])
    assert [t.shape for t in best_latent_scores(none, none)] == [(0,), (0,)]


def test_codes_that_are_no_numbers_have_no_rank():
    broken = Samples(CODES.where(CODES < 5, torch.nan), FIRES)
    with pytest.raises(ValueError, match="NaN"):
        best_latent_scores(broken, WHOLE)


def test_the_threshold_is_half_way_to_the_next_lower_code():
    fires = torch.arange(20)[:, None] < 10
    chosen, judged = fires.float(), torch.where(fires, 0.6, 0.4)
    assert best_latent_scores(Samples(chosen, fires), Samples(judged, fires)).f1.item() == 1.0
