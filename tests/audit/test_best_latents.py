"""Best latents by average precision, against scikit-learn and by hand."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from saebench_lite.audit.best_latents import best_latent_precision


def table(seed=0, n=200, m=5):
    g = torch.Generator().manual_seed(seed)
    codes = torch.randint(0, 6, (n, m), generator=g).float() * (torch.rand(n, m, generator=g) < 0.6)
    return codes, torch.rand(n, m, generator=g) < 0.3


def test_the_best_latent_is_chosen_on_one_half_and_judged_on_the_other():
    codes, fires = table()
    first, second = (codes[:100], fires[:100]), (codes[100:], fires[100:])
    got = best_latent_precision(first, second)
    for j in range(5):
        at = [average_precision_score(fires[:100, j].numpy(), codes[:100, i].numpy()) for i in range(5)]
        want = average_precision_score(fires[100:, j].numpy(), codes[100:, int(np.argmax(at))].numpy())
        assert got[j].item() == pytest.approx(want)
    torch.testing.assert_close(best_latent_precision((codes.exp() + 1e-6, fires), (codes.exp() + 1e-6, fires)),
                               best_latent_precision((codes, fires), (codes, fires)))  # fmt: skip
    assert best_latent_precision((fires.float(), fires), (fires.float(), fires)).tolist() == [1.0] * 5
