"""Prediction of a new training run: against scipy and statsmodels, by simulation, and by hand."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from saebench_lite.stats.retraining import retraining, retraining_p, seeds_needed

EARLIER = np.array([0.61, 0.58, 0.64, 0.60])


def test_one_new_run_is_judged_by_the_prediction_interval_of_a_regression_on_a_constant():
    from statsmodels.api import OLS

    model = OLS(EARLIER, np.ones(4)).fit()
    low, high = model.get_prediction(np.ones((1, 1))).conf_int(obs=True)[0]
    for end in (low, high):
        assert retraining_p(retraining(np.array([end]), EARLIER)) == pytest.approx(0.05)
    middle = retraining(np.array([EARLIER.mean()]), EARLIER)
    assert (middle.df, retraining_p(middle)) == (3, pytest.approx(1.0))


def test_several_new_runs_are_the_two_sample_t_test():
    new = np.array([0.55, 0.57, 0.60])
    got = retraining(new, EARLIER)
    statistic, p = scipy_stats.ttest_ind(new, EARLIER)
    assert retraining_p(got) == pytest.approx(p)
    assert got.difference / got.error == pytest.approx(statistic)
    assert retraining_p(got, beyond=got.difference) == pytest.approx(1.0)
    assert retraining_p(got, beyond=-0.02) == pytest.approx(scipy_stats.ttest_ind(new + 0.02, EARLIER)[1])


@pytest.mark.parametrize("earlier", [2, 3, 6])
def test_a_further_run_of_the_recipe_is_called_different_in_five_of_a_hundred(earlier):
    draw = np.random.default_rng(earlier)
    scores = draw.normal(0.7, 0.02, size=(4000, earlier + 1))
    alarms = np.mean([retraining_p(retraining(s[:1], s[1:])) <= 0.05 for s in scores])
    assert alarms == pytest.approx(0.05, abs=0.01)


def test_shift_scale_and_order_do_not_matter_and_the_floor_holds():
    new = np.array([0.5])
    p = retraining_p(retraining(new, EARLIER))
    assert retraining_p(retraining(3 * new - 1, 3 * EARLIER[::-1] - 1)) == pytest.approx(p)
    assert retraining(new, EARLIER, floor=1e-9) == retraining(new, EARLIER)
    floored = retraining(new, EARLIER, floor=0.2)
    assert (floored.error, floored.df) == (0.2, 3)
    assert retraining_p(floored) > p


def test_no_noise_and_too_few_runs():
    flat = retraining(np.array([0.5]), np.array([0.6, 0.6]))
    assert np.isnan(retraining_p(flat))
    assert retraining_p(retraining(np.array([0.6]), np.array([0.6, 0.6]))) == 1.0
    with pytest.raises(ValueError, match="two earlier"):
        retraining(np.array([0.5]), np.array([0.6]))


def test_the_seeds_that_are_said_to_decide_do_so_in_four_of_five():
    n = seeds_needed(0.02, 1, 3, 0.03)
    assert n is not None
    draw = np.random.default_rng(0)
    found = [
        retraining_p(retraining(draw.normal(0.67, 0.02, 1 + n), draw.normal(0.7, 0.02, 3 + n))) <= 0.05
        for _ in range(2000)
    ]
    assert np.mean(found) == pytest.approx(0.8, abs=0.06)
    strict = seeds_needed(0.02, 1, 3, 0.03, level=0.001)
    assert strict is not None
    assert strict > n
    assert seeds_needed(0.02, 1, 3, 0.0) is None
    assert seeds_needed(0.02, 1, 3, 1e-5) is None
