"""Best latents by average precision, against scikit-learn and by hand; worlds with texts of any length."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from saebench_lite.errors import SaebenchError
from saebench_lite.worlds import concepts, spec
from saebench_lite.worlds.model import BLOCK, WorldModel
from saebench_lite.worlds.truth import best_latent_precision, standardised_difference


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


def test_standardised_differences_are_those_of_a_loop():
    codes, fires = table(1)
    got = standardised_difference(codes, fires)
    for i in range(5):
        for j in range(5):
            x, y = codes[:, i].double().numpy(), fires[:, j].numpy()
            assert got[i, j].item() == pytest.approx((x[y].mean() - x[~y].mean()) / np.std(x, ddof=1))


def test_names_may_change_any_field():
    assert spec.parse("small,tokens=16,branching=40,roots=8,depth=1").branching == 40
    assert spec.parse("tiny-7,exclusive=false,persistence=0.5").exclusive is False
    assert spec.parse("small,tokens=4") == spec.parse("small")
    for name, sentence in (
        ("small,token=3", "has no field 'token' to change; there are features"),
        ("small,tokens=many", "tokens=many is not int"),
        ("small,exclusive=2", "exclusive=2 is not true or false"),
        ("small,tokens=0", "a text needs a token"),
        ("small,persistence=1", "a persistence in"),
    ):
        with pytest.raises(SaebenchError, match=sentence):
            spec.parse(name)


def test_persistence_moves_whole_texts_and_leaves_single_tokens_as_they_were():
    def fires(persistence):
        lm = WorldModel.load(f"tiny,tokens=8,persistence={persistence},exclusive=false")
        return torch.cat([lm.features(b) > 0 for b in range(16)]).view(16 * BLOCK, 8, -1).float()

    free, held = fires(0.0), fires(0.5)
    roots = slice(0, 8)  # children hang on what their parents do
    assert held[..., roots].mean((0, 1)).numpy() == pytest.approx(free[..., roots].mean((0, 1)).numpy(), abs=0.02)

    def together(f):
        """How much likelier a feature is to fire at the last token of a text where it fires at the first."""
        return (f[:, 0] * f[:, -1]).mean(0)[roots] / f[:, 0].mean(0)[roots] - f[:, -1].mean(0)[roots]

    assert together(free).abs().max() < 0.06
    assert together(held).min() > 0.1


def test_concepts_of_long_texts_hold_at_the_last_token_or_nowhere():
    lm = WorldModel.load("tiny,tokens=16,persistence=0.5")
    data = concepts.build(lm, 4 * BLOCK)
    assert len(data.datasets) >= 5
    assert lm.real_lengths([[0]]) == [16]
    fires = torch.cat([lm.features(b) > 0 for b in range(4)]).view(4 * BLOCK, 16, -1)
    single = next(d for d in data.datasets if d.name.startswith("single_in"))
    rows = torch.as_tensor(single.rows)
    matches = [
        f for f in range(fires.shape[2]) if torch.equal(fires[rows, -1, f], torch.as_tensor(single.positive))
        and not fires[rows][~torch.as_tensor(single.positive)][:, :, f].any()
    ]  # fmt: skip
    assert len(matches) == 1
