"""Matching of latents against exhaustive search, numpy and scipy; nulls, shared starts and errors over runs."""

from itertools import combinations, permutations

import numpy as np
import pytest
from scipy.linalg import subspace_angles
from scipy.sparse import csr_array

from saebench_lite.metrics.matching import (
    above_null,
    alike,
    best_matching,
    correlations,
    jackknife,
    shared_start,
    subspace_overlap,
    unit,
)


def rows(m: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((m, d))


def test_matching_is_the_best_of_all_permutations():
    similarity = rows(5, 6)
    best = max(sum(similarity[i, p[i]] for i in range(5)) for p in permutations(range(6), 5))
    assert similarity[best_matching(similarity)].sum() == pytest.approx(best)
    assert similarity.T[best_matching(similarity.T)].sum() == pytest.approx(best)


def test_a_permuted_dictionary_is_found_again():
    a, order = rows(40, 12), np.random.default_rng(1).permutation(40)
    b = a[order] * np.linspace(0.1, 5, 40)[:, None]
    found = best_matching(unit(a) @ unit(b).T)
    assert np.array_equal(order[found[1]], found[0])
    assert not unit(np.zeros((2, 3))).any()


def test_correlations_match_numpy():
    rng = np.random.default_rng(0)
    f, g = (np.maximum(rng.standard_normal((60, m)) - 1, 0) for m in (7, 5))
    f[:, 2] = 0.0
    f[:, 3] = 4.0  # does not vary
    got = correlations(csr_array(f), csr_array(g))
    varying = [0, 1, 4, 5, 6]
    want = np.corrcoef(f[:, varying].T, g.T)[:5, 5:]
    assert got[varying] == pytest.approx(want, abs=1e-6)
    assert not got[2].any()
    assert np.abs(got[3]).max() < 1e-6
    order = rng.permutation(60)
    again = correlations(csr_array(3 * f[order]), csr_array(0.2 * g[order]))
    assert again[varying] == pytest.approx(got[varying], abs=1e-6)


def test_the_null_has_the_mean_and_covariance_of_the_rows():
    a = rows(4000, 40) * np.linspace(1.5, 0.5, 40) + 0.3
    drawn, u = alike(a, np.random.default_rng(2)), unit(a)
    assert np.linalg.norm(drawn, axis=1) == pytest.approx(np.ones(4000), abs=1e-5)
    assert drawn.mean(0) == pytest.approx(u.mean(0), abs=0.01)
    assert np.cov(drawn.T) == pytest.approx(np.cov(u.T), abs=0.006)
    assert np.linalg.matrix_rank(alike(rows(3, 8), np.random.default_rng(0)), tol=1e-4) == 3


def test_subspaces_match_scipys_principal_angles():
    a, b = rows(30, 8), rows(25, 8, 1)
    first, second = (np.linalg.svd(unit(x).astype(float))[2][:3].T for x in (a, b))
    assert subspace_overlap(a, b, 3) == pytest.approx(np.mean(np.cos(subspace_angles(first, second)) ** 2))
    assert subspace_overlap(a, a[::-1] * 7, 3) == pytest.approx(1.0)
    assert np.isnan(subspace_overlap(a[:2], b, 3))
    apart = np.eye(8)
    assert subspace_overlap(apart[:4], apart[4:], 4) == pytest.approx(0.0, abs=1e-12)
    many = [subspace_overlap(rows(200, 16, s), rows(200, 16, s + 100), 4) for s in range(40)]
    assert np.mean(many) == pytest.approx(4 / 16, abs=0.03)


def test_a_shared_start_stands_out_and_chance_does_not():
    a = rows(400, 32)
    chance = [shared_start(unit(rows(100, 32, s)) @ unit(rows(100, 32, s + 5000)).T).z for s in range(1, 400)]
    assert np.std(chance) == pytest.approx(1.0, abs=0.15)
    moved = shared_start(unit(a) @ unit(a + 2 * rows(400, 32, 3)).T)
    assert moved.excess == pytest.approx(1 / 5**0.5, abs=0.03)
    assert moved.z > 30
    assert shared_start(np.ones((3, 3))) == (0.0, 0.0)


def test_jackknife_over_runs_by_hand():
    pairs = {(0, 1): 0.5, (0, 2): 0.6, (1, 2): 0.9}
    without = np.array([0.9, 0.6, 0.5])
    assert jackknife(pairs, 3) == pytest.approx(np.sqrt(2 / 3 * ((without - without.mean()) ** 2).sum()))
    assert jackknife({(0, 1): 0.5}, 2) is None
    assert jackknife(dict.fromkeys(combinations(range(5), 2), 0.4), 5) == pytest.approx(0.0, abs=1e-12)


def test_calibration_maps_chance_to_0_and_perfection_to_1():
    assert [above_null(v, 0.2) for v in (0.2, 1.0, 0.6)] == pytest.approx([0.0, 1.0, 0.5])
