"""Contrasts of a design and units needed, against plain means and a simulated power."""

import numpy as np
import pytest

from saebench_lite.stats.bootstrap_t import bootstrap_p
from saebench_lite.stats.contrasts import lead_p, level_contrasts, units_needed


def test_contrasts_are_means_over_the_levels_that_both_have():
    u = np.random.default_rng(0).normal(size=(20, 6))
    got = level_contrasts(u, ["8", "8", "16", "16", "32", "8"], ["a", "b", "a", "b", "c", "b"])
    (one,) = got  # 32 shares no level with the others
    eight = (u[:, 0] + (u[:, 1] + u[:, 5]) / 2) / 2
    d = eight - (u[:, 2] + u[:, 3]) / 2
    assert abs(d.mean()) == pytest.approx(one.difference)
    assert (one.first, one.second) == (("8", "16") if d.mean() > 0 else ("16", "8"))
    assert one.levels == 2
    assert one.low is not None
    assert one.high is not None
    assert one.difference - one.low == pytest.approx(one.high - one.difference)
    assert level_contrasts(u[:, :1], ["8"], ["a"]) == []


def test_a_planted_effect_is_told_and_no_other():
    draw = np.random.default_rng(1)
    factor, other = ["8", "16", "32"] * 2, ["a"] * 3 + ["b"] * 3
    u = draw.normal(size=(12, 1)) + 0.2 * draw.normal(size=(12, 6)) + np.array([1.0, 0, 0, 1.0, 0, 0])
    found = {(c.first, c.second): c.p for c in level_contrasts(u, factor, other)}
    assert found["8", "16"] <= 0.005
    assert found["8", "32"] <= 0.005
    assert [c.p > 0.05 for c in level_contrasts(u, other, factor)] == [True]
    assert sum(p > 0.05 for p in found.values()) == 1


@pytest.mark.parametrize(("units", "level"), [(12, 0.01), (29, 0.01), (30, 0.03), (60, 0.03)])
def test_with_few_units_a_contrast_is_certain_later(units, level):
    factor, other = ["8", "16"] * 2, ["a"] * 2 + ["b"] * 2
    seen = set()
    for seed in range(300):
        draw = np.random.default_rng([seed, units])
        u = draw.normal(size=(units, 4)) + np.array([1.0, 0.0, 1.0, 0.0]) * 1.6 / np.sqrt(units)
        (one,) = level_contrasts(u, factor, other)
        assert one.certain == (one.p <= level)
        seen.add((one.p <= 0.01) + (one.p <= 0.03) + (one.p <= 0.05))
    assert seen == {0, 1, 2, 3}


def test_a_lead_is_one_sided_and_never_surer_than_half_of_both_sides():
    draw = np.random.default_rng(4)
    for d in (draw.normal(0.5, 1.0, size=40), draw.exponential(size=12) - 0.5, 0.5 - draw.exponential(size=12)):
        both = bootstrap_p(d[:, None])[0]
        assert lead_p(d) >= both / 2
        assert lead_p(d) >= bootstrap_p(d[:, None], "above")[0]
        assert lead_p(d) + lead_p(-d) >= 1
    clear = draw.normal(1.0, 1.0, size=40)
    assert lead_p(clear) < 0.001
    assert lead_p(-clear) > 0.999


def test_units_needed_have_a_power_of_eighty_percent():
    d = np.random.default_rng(2).normal(0.3, 1.0, size=50)
    n, mean, s = units_needed(d), d.mean(), d.std(ddof=1)
    assert n is not None
    draw = np.random.default_rng(3).normal(mean, s, size=(4000, n))
    z = draw.mean(1) / (s / np.sqrt(n))
    assert (np.abs(z) > 1.96).mean() == pytest.approx(0.8, abs=0.02)
    assert units_needed(10 * d) == n
    assert units_needed(-d) == n
    assert units_needed(np.array([1.0, -1.0])) is None
