"""Effects against numpy and scipy, cases worked by hand, and what must not matter."""

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr

from saebench_lite.metrics.effects import effect_per_norm, hodges_lehmann_log2, kl_divergence, targeted_share


def test_divergence_against_scipy_in_float64():
    p, q = torch.randn(2, 5, 40, generator=torch.Generator().manual_seed(0))
    a, b = (np.exp(log_softmax(t.double().numpy(), -1)) for t in (p, q))
    assert kl_divergence(p, q).numpy() == pytest.approx(rel_entr(a, b).sum(-1), rel=1e-5)
    assert kl_divergence(p + 7, q - 3).numpy() == pytest.approx(kl_divergence(p, q).numpy(), rel=1e-4)
    assert kl_divergence(p, p).tolist() == [0.0] * 5
    half, sure = torch.tensor([0.0, 0.0]), torch.tensor([math.log(3.0), 0.0])
    assert kl_divergence(half, sure).item() == pytest.approx(math.log(2 / math.sqrt(3)), rel=1e-6)


def test_hodges_lehmann_against_all_pairs():
    draw = np.random.default_rng(0)
    a, b = draw.lognormal(1, 1, 7), draw.lognormal(0, 1, 5)
    pairs = [math.log2(x) - math.log2(y) for x in a for y in b]
    got = hodges_lehmann_log2(torch.tensor(a), torch.tensor(b))
    assert got == pytest.approx(np.median(pairs), abs=1e-12)
    assert hodges_lehmann_log2(torch.tensor(b), torch.tensor(a)) == pytest.approx(-got, abs=1e-12)
    assert hodges_lehmann_log2(torch.tensor(a * 9), torch.tensor(b * 9)) == pytest.approx(got, abs=1e-12)
    assert hodges_lehmann_log2(torch.tensor(a * 2), torch.tensor(a)) == pytest.approx(1, abs=1e-12)


def test_one_huge_latent_hardly_moves_the_ratio():
    a = torch.arange(1.0, 41.0)
    b = a.clone()
    b[-1] = 1e9
    assert abs(hodges_lehmann_log2(b, a)) < 0.1


def test_ratios_without_effect():
    assert hodges_lehmann_log2(torch.zeros(3), torch.zeros(4)) == 0
    assert math.isnan(hodges_lehmann_log2(torch.zeros(0), torch.ones(4)))
    assert effect_per_norm(torch.tensor([0.6, 0.0]), torch.tensor([2.0, 0.0])).tolist() == pytest.approx([0.3, 0.0])
    assert targeted_share(3.0, 1.0) == 0.75
    assert math.isnan(targeted_share(0.0, 0.0))
