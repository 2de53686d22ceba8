"""Recovery by hand-made dictionaries of the tiny world, and its formulas against scikit-learn and loops."""

import pytest
import torch
from sklearn import metrics as reference

from saebench_lite.audit.attack_recovery import firing_f1, recovery
from saebench_lite.saes.affine import AffineSAE
from saebench_lite.worlds.model import WorldModel
from saebench_lite.worlds.oracle import OracleSAE

SAMPLES = 4096


@pytest.fixture(scope="module")
def lm():
    return WorldModel.load("tiny")


def table(seed=0, n=60, m=5):
    g = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 6, (n, m), generator=g).float() * (torch.rand(n, m, generator=g) < 0.6)
    return codes, torch.rand(n, m, generator=g) < 0.3


def test_f1_is_scikit_learns():
    codes, labels = table(1)
    f1 = firing_f1(codes, labels)
    for i in range(5):
        for j in range(5):
            said, y = codes[:, i] != 0, labels[:, j]
            assert f1[i, j].item() == pytest.approx(reference.f1_score(y, said))


def test_the_oracle_recovers_every_feature_and_noise_few(lm):
    oracle = recovery(OracleSAE(lm, 24, SAMPLES // 1024), lm, SAMPLES)
    assert {m: v.min() for m, v in oracle.items()} == pytest.approx(dict.fromkeys(oracle, 1.0))
    assert set(oracle) == {"ap", "feature_f1", "mcc", "f1"}
    noise = torch.randn(24, 24, generator=torch.Generator().manual_seed(0))
    random = recovery(AffineSAE(W_enc=noise.T, W_dec=noise, activation="topk", k=4), lm, SAMPLES)
    assert all(0 < values.mean() < 0.6 for values in random.values())
    assert [v.shape for v in random.values()] == [v.shape for v in oracle.values()]


def test_features_do_not_depend_on_the_width_and_half_a_dictionary_recovers_half(lm):
    half = recovery(OracleSAE(lm, 12, SAMPLES // 1024), lm, SAMPLES)
    twice = recovery(OracleSAE(lm, 48, SAMPLES // 1024), lm, SAMPLES)
    assert half["ap"].shape == twice["ap"].shape
    assert (half["ap"][:12] == 1).all()
    assert (half["ap"][12:] < 0.9).all()
    assert (half["mcc"] > 0.999).sum() == 12
    assert (half["mcc"] == 0).sum() == len(half["mcc"]) - 12
    assert twice["ap"].tolist() == [1.0] * len(twice["ap"])


def test_the_latent_is_chosen_on_other_samples_than_it_is_judged_on(lm):
    """Latents that know the labels of the first half only are chosen and then shown to be worthless."""

    class Cheats(OracleSAE):
        def encode(self, x):
            codes = super().encode(x)
            known = torch.isin(x[:, 0], first)
            return torch.where(known[:, None], codes, codes.roll(7, 0))

    first = torch.cat([lm.activations(b) for b in range(SAMPLES // 2048)])[:, 0]
    found = recovery(Cheats(lm, 24, SAMPLES // 1024), lm, SAMPLES)
    assert found["ap"].mean() < 0.3
    assert found["feature_f1"].mean() < 0.3
