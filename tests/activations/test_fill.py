"""Activations are filled in by text whatever the order of batches, in memory, in a file, and on another device."""

import pytest
import torch

from saebench_lite.activations.cache_entry import Expected, open_entry
from saebench_lite.activations.fill import Fill
from saebench_lite.activations.store import collect_many
from saebench_lite.data.types import Corpus
from saebench_lite.models.language_model import LanguageModel
from tests.conftest import HOOK
from tests.helpers import fake_device

LENGTHS = torch.tensor([3, 1, 4, 2])
D = 5
far = pytest.mark.skipif(fake_device.SETUP is None, reason=fake_device.REASON)


def batches():
    """(texts, x [b, L, d], asked, chosen), longest first; the first token of text 2 is left out, padding is NaN."""
    g = torch.Generator().manual_seed(0)
    for rows in ([2, 0], [3, 1]):
        lengths = LENGTHS[rows]
        asked = torch.arange(int(lengths.max())) < lengths[:, None]
        x = torch.randn(*asked.shape, D, generator=g).masked_fill(~asked[..., None], float("nan"))
        chosen = asked.clone()
        chosen[0, 0] = rows[0] != 2
        yield rows, x, asked, chosen


def wanted() -> torch.Tensor:
    texts = {row: x[i][chosen[i]] for rows, x, _, chosen in batches() for i, row in enumerate(rows)}
    return torch.cat([texts[row] for row in range(4)])


def filled(path, model: str = "cpu", device: str = "cpu", spoil: float = 0.0) -> Fill:
    fill = Fill(path, LENGTHS, D, torch.float32, device)
    for rows, x, asked, chosen in batches():
        x[1, 0, 2] += spoil
        fill.put(rows, *(t.to(model) for t in (x, asked, chosen)))
    return fill


@pytest.mark.parametrize("on_disk", [False, True])
def test_texts_stand_in_order_without_what_is_left_out(tmp_path, on_disk):
    fill = filled(tmp_path / "entry.safetensors" if on_disk else None)
    assert fill.left_out() == 1
    assert fill.odd().tolist() == [0, 0, 0, 0]
    assert fill.complete(cut=2) is not on_disk
    assert fill.offsets.tolist() == [0, 3, 4, 7, 9]
    if not on_disk:
        assert torch.equal(fill.x, wanted())
        return
    entry = open_entry(tmp_path / "entry.safetensors", Expected(4, D, torch.float32))
    assert entry is not None
    assert torch.equal(entry.acts.x, wanted())
    assert (entry.cut, entry.asked, entry.left_out) == (2, 10, 1)


@pytest.mark.parametrize("spoil", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_counted_by_text_but_not_in_padding(spoil):
    assert filled(None, spoil=spoil).odd().tolist() == [1, 1, 0, 0]


@far
@pytest.mark.parametrize("device", ["cpu", fake_device.NAME])
def test_from_far_away_and_there_it_is_the_same(tmp_path, device):
    """What a model far away reads stays with it or comes here; an entry of it has the bytes of one made here."""
    for folder in ("near", "far"):
        (tmp_path / folder).mkdir()
    near, there = (tmp_path / folder / "entry.safetensors" for folder in ("near", "far"))
    filled(near).complete(cut=0)
    with fake_device.device():
        spoilt = filled(None, fake_device.NAME, device, spoil=float("inf"))
        fill = filled(there, fake_device.NAME, device)
        assert spoilt.odd().tolist() == [1, 1, 0, 0]
        assert fill.complete(cut=0) is (device != "cpu")
        if device != "cpu":
            assert fill.x.device.type == device
            assert torch.equal(fill.x.cpu(), wanted())
    assert near.read_bytes() == there.read_bytes()


@far
def test_no_batch_is_waited_for():
    given = list(batches())
    with fake_device.device():
        fill = Fill(None, LENGTHS, D, torch.float32, fake_device.NAME)
        away = [(rows, *(t.to(fake_device.NAME) for t in tensors)) for rows, *tensors in given]
        fake_device.waits.clear()
        for batch in away:
            fill.put(*batch)
        assert not fake_device.waits
        fill.left_out()
        assert fake_device.waits


@far
def test_activations_stay_with_the_model_while_they_fit(pico, few_texts, tmp_path):
    """Those of the first hook first; what does not fit comes here."""
    corpus = Corpus("t", few_texts.texts[0].texts[:6])
    hooks = [HOOK, "blocks.1.hook_resid_post"]
    want = collect_many(pico, hooks, corpus)
    size = 4 * pico.width * (want[HOOK].acts.tokens + 1)
    with fake_device.device():
        lm = LanguageModel.load("pico", device=fake_device.NAME)
        for resident, places in ((0, "near near"), (size, "far near"), (2 * size, "far far")):
            cache = tmp_path / str(resident)
            got = collect_many(lm, hooks, corpus, cache=cache, resident=resident, batch_tokens=64)
            assert [got[hook].acts.x.device.type for hook in hooks] == places.replace("near", "cpu").split()
            for hook in hooks:
                torch.testing.assert_close(got[hook].acts.x.cpu(), want[hook].acts.x)
            entries = [open_entry(path, Expected(6, pico.width, torch.float32)) for path in (cache / "acts").iterdir()]
            assert len(entries) == 2
            assert None not in entries
