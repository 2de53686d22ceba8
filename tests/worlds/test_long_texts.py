"""Worlds whose names change a field, and whose texts have any length."""

import pytest
import torch

from saebench_lite.errors import SaebenchError
from saebench_lite.worlds import concepts, spec
from saebench_lite.worlds.model import BLOCK, WorldModel
from saebench_lite.worlds.world import World


def test_names_may_change_any_field():
    assert spec.parse("small,tokens=16,branching=40,roots=8,depth=1").branching == 40
    assert spec.parse("tiny-7,exclusive=false,persistence=0.5").exclusive is False
    assert spec.parse("small,tokens=4") == spec.parse("small")
    assert spec.parse("tiny,drawn_on=cuda").drawn_on == "cuda"
    for name, sentence in (
        ("small,token=3", "has no field 'token' to change; there are features"),
        ("small,tokens=many", "tokens=many is not int"),
        ("small,exclusive=2", "exclusive=2 is not true or false"),
        ("small,tokens=0", "a text needs a token"),
        ("small,persistence=1", "a persistence in"),
    ):
        with pytest.raises(SaebenchError, match=sentence):
            spec.parse(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="where no GPU is")
def test_a_world_is_not_drawn_on_a_device_that_is_not_there():
    with pytest.raises(SaebenchError, match="drawn on cuda, which is not here; leave drawn_on out"):
        WorldModel.load("tiny,drawn_on=cuda")


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


def test_samples_that_another_device_draws_are_of_another_model():
    """The directions are the same, the samples are not, so records of the two are never mixed."""
    near = World(spec.TINY)
    far = World(spec.parse("tiny,drawn_on=cuda"))  # on the CPU here: only what it is called is asked
    assert WorldModel(near, "tiny").fingerprint() == WorldModel.load("tiny").fingerprint()
    assert WorldModel(near, "tiny").fingerprint() != WorldModel(far, "tiny").fingerprint()
