"""Planted causes: predictions follow which of them are there, and nothing else as much."""

import pytest
import torch

from saebench_lite.errors import SaebenchError
from saebench_lite.metrics.effects import kl_divergence
from saebench_lite.worlds import spec
from saebench_lite.worlds.model import WorldModel


def test_a_cause_moves_predictions_and_a_random_change_of_its_size_does_not():
    model = WorldModel.load("small,features=256,roots=8,causes=16")
    world, cause = model.world, int(model.causes[0])
    a = model.features(0)
    x = (world.activations(a, "texts", 0))[a[:, cause] > 0]
    taken = a[a[:, cause] > 0][:, [cause]] * world.directions[cause]
    random = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    random *= taken.norm(dim=1, keepdim=True) / random.norm(dim=1, keepdim=True)
    plain = model.to_logits(x)
    own, other = (kl_divergence(plain, model.to_logits(x - d)).median() for d in (taken, random))
    assert own > 3 * other
    assert 1.5 < plain.std() < 2.5
    assert torch.equal(model.causes, model.by_frequency[:16])


def test_without_causes_the_readout_is_linear_and_nothing_else_differs():
    plain, caused = WorldModel.load("tiny"), WorldModel.load("tiny,causes=6")
    assert torch.equal(plain.activations(0), caused.activations(0))
    assert plain.fingerprint() != caused.fingerprint()
    assert repr(plain.world.spec) == repr(caused.world.spec)  # SAEs of one world serve the other
    x = plain.activations(0)[:2]
    middle = plain.to_logits(x.mean(0, keepdim=True))
    assert torch.allclose(middle, plain.to_logits(x).mean(0, keepdim=True), atol=1e-5)
    assert not torch.allclose(caused.to_logits(x.mean(0, keepdim=True)), caused.to_logits(x).mean(0, keepdim=True))
    with pytest.raises(SaebenchError, match="0 to 96 causes, as many as features, not 97"):
        spec.parse("tiny,causes=97")
