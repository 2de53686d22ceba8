"""SCR and TPP: the shortcut against an ablation token by token, worked cases, what must not matter."""

import numpy as np
import pytest
import torch

from saebench_lite.metrics.probe_ablation import accuracy_without, chosen_latents, node_effects, scr, tpp


def test_the_shortcut_is_the_ablation_of_every_token():
    g = torch.Generator().manual_seed(0)
    x, codes = torch.randn(20, 6, 5, generator=g).double(), torch.rand(20, 6, 4, generator=g).double()
    decoder, weight = torch.randn(4, 5, generator=g).double(), torch.randn(5, generator=g).double()
    positive, chosen = torch.rand(20, generator=g) < 0.5, torch.tensor([1, 3])
    without = x - codes[..., chosen] @ decoder[chosen]  # 20 texts of 6 tokens
    direct = ((without.mean(1) @ weight + 0.3 > 0) == positive).double().mean().item()
    pooled, pull = codes.mean(1), decoder @ weight
    got = accuracy_without(x.mean(1) @ weight + 0.3, pooled[:, chosen], pull[chosen], positive)
    assert got == direct
    assert accuracy_without(x.mean(1) @ weight + 0.3, pooled[:, :0], pull[:0], positive) != direct
    by_hand = [(pooled[positive, j].mean() - pooled[~positive, j].mean()) * pull[j] for j in range(4)]
    np.testing.assert_allclose(node_effects(pooled, positive, pull), by_hand)
    half = node_effects(pooled / 2, positive, 2 * pull)  # the scale of a latent goes from code to decoder
    np.testing.assert_allclose(half, by_hand)


def test_latents_without_an_effect_are_never_chosen():
    effects = torch.tensor([0.0, 3.0, -5.0, 1.0, 3.0])
    assert chosen_latents(effects, 2).tolist() == [1, 4]
    assert chosen_latents(effects, 500).tolist() == [1, 4, 3]


def test_worked_cases():
    assert scr(0.8, 0.6, 0.9) == pytest.approx(2 / 3)
    assert scr(0.9, 0.6, 0.9) == 1
    assert scr(0.5, 0.6, 0.9) == pytest.approx(-1 / 3)
    assert scr(0.8, 0.9, 0.9) == 0  # nothing to remove
    total, intended, unintended = tpp(torch.tensor([[0.4, 0.1, 0.0], [0.0, 0.2, 0.2], [0.1, 0.1, 0.1]]))
    assert total.tolist() == pytest.approx([0.35, 0.1, 0.0], abs=1e-7)
    assert intended.tolist() == pytest.approx([0.4, 0.2, 0.1])
    assert unintended.tolist() == pytest.approx([0.05, 0.1, 0.1])
    assert tpp(torch.full((4, 4), 0.3))[0].tolist() == pytest.approx(
        [0] * 4, abs=1e-7
    )  # what harms all is not targeted
