"""Activations are filled in by text whatever the order of batches, in memory, in a file, and on another device."""

import gc
import weakref

import pytest
import torch

from saebench_lite.activations import acts, cache_entry
from saebench_lite.activations.acts import Acts
from saebench_lite.activations.cache_entry import Entry, Expected, open_entry
from saebench_lite.activations.fill import Fill
from saebench_lite.activations.store import collect, collect_many
from saebench_lite.api.context import EvalContext
from saebench_lite.data.types import Corpus
from saebench_lite.models.language_model import LanguageModel
from tests.conftest import HOOK
from tests.helpers import fake_device

LENGTHS = torch.tensor([3, 1, 4, 2])
D = 5
far = pytest.mark.skipif(fake_device.SETUP is None, reason=fake_device.REASON)


def batches(spoil=()):
    """(texts, x [b, L, d], asked, chosen), longest first; the first token of text 2 is left out, padding is NaN.

    spoil: (text, place, number) that is put into an activation.
    """
    g = torch.Generator().manual_seed(0)
    for rows in ([2, 0], [3, 1]):
        lengths = LENGTHS[rows]
        asked = torch.arange(int(lengths.max())) < lengths[:, None]
        x = torch.randn(*asked.shape, D, generator=g).masked_fill(~asked[..., None], float("nan"))
        chosen = asked.clone()
        chosen[0, 0] = rows[0] != 2
        for text, place, number in spoil:
            if text in rows:
                x[rows.index(text), place, 2] = number
        yield rows, x, asked, chosen


def wanted() -> torch.Tensor:
    texts = {row: x[i][chosen[i]] for rows, x, _, chosen in batches() for i, row in enumerate(rows)}
    return torch.cat([texts[row] for row in range(4)])


def filled(path, model: str = "cpu", device: str = "cpu", spoil=()) -> Fill:
    fill = Fill(path, LENGTHS, D, torch.float32, device)
    for rows, x, asked, chosen in batches(spoil):
        fill.put(rows, *(t.to(model) for t in (x, asked, chosen)))
    return fill


@pytest.mark.parametrize("on_disk", [False, True])
def test_texts_stand_in_order_without_what_is_left_out(tmp_path, on_disk):
    fill = filled(tmp_path / "entry.safetensors" if on_disk else None)
    assert fill.left_out() == 1
    assert fill.odd().tolist() == [0, 0, 0, 0]
    fill.complete(cut=2)
    assert fill.offsets.tolist() == [0, 3, 4, 7, 9]
    if not on_disk:
        assert torch.equal(fill.x, wanted())
        return
    entry = open_entry(tmp_path / "entry.safetensors", Expected(4, D, torch.float32))
    assert entry is not None
    assert torch.equal(entry.acts.x, wanted())
    assert (entry.cut, entry.asked, entry.left_out) == (2, 10, 1)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_counted_by_text(number):
    """Also in a token that the rule leaves out, as a sink may be; not in padding."""
    spoil = [(0, 0, number), (1, 0, number), (2, 0, number), (2, 1, number)]
    assert filled(None, spoil=spoil).odd().tolist() == [1, 1, 2, 0]


@far
@pytest.mark.parametrize("device", ["cpu", fake_device.NAME])
def test_from_far_away_it_is_the_same(device):
    """What a model far away reads stays with it or comes here."""
    with fake_device.device():
        spoilt = filled(None, fake_device.NAME, device, [(2, 0, float("inf"))])
        fill = filled(None, fake_device.NAME, device)
        assert spoilt.odd().tolist() == [0, 0, 1, 0]
        fill.complete(cut=0)
        assert fill.x.device.type == device
        assert torch.equal(fill.x.cpu(), wanted())


@pytest.mark.parametrize("written", [1, 3 * 4 * D, 1 << 26])
def test_an_entry_written_from_memory_has_the_bytes_of_one_filled_in(tmp_path, monkeypatch, written):
    """Whatever goes into the file together: a row, some, or all."""
    monkeypatch.setattr(cache_entry, "WRITTEN", written)
    filled(tmp_path / "entry.safetensors").complete(cut=3)
    fill = filled(None)
    fill.complete(cut=3)
    entry = Entry(Acts(fill.x, fill.offsets), 3, fill.asked, fill.left_out())
    cache_entry.write_entry(tmp_path / "other" / "entry.safetensors", entry)
    assert (tmp_path / "other" / "entry.safetensors").read_bytes() == (tmp_path / "entry.safetensors").read_bytes()


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


@far
def test_a_disk_that_fills_up_costs_no_activations_that_are_held(few_texts, tmp_path, monkeypatch, caplog):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_entry, "close_entry", full)
    corpus = Corpus("t", few_texts.texts[0].texts[:6])
    with fake_device.device():
        lm = LanguageModel.load("pico", device=fake_device.NAME)
        got = collect_many(lm, [HOOK], corpus, cache=tmp_path, resident=1 << 30)[HOOK]
        assert got.acts.x.device.type == fake_device.NAME
    assert "the cache cannot be written (No space left on device), so activations are not kept" in caplog.text
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


@far
def test_corpora_of_a_site_stay_with_the_model_while_all_fit_together(few_texts, monkeypatch):
    texts = few_texts.texts[0].texts
    corpora = [Corpus("a", texts[:3]), Corpus("b", texts[3:7]), Corpus("c", texts[7:10])]
    monkeypatch.setattr(Acts, "on", lambda *_: pytest.fail("moved once they were here"))
    with fake_device.device():
        lm = LanguageModel.load("pico", device=fake_device.NAME)
        sizes = [collect_many(lm, [HOOK], c)[HOOK].acts.x.nbytes for c in corpora]
        row = 4 * lm.width
        ctx = EvalContext(lm, HOOK, few_texts, memory=sizes[0] + sizes[2] + 2 * row)
        ctx.acts(corpora[0])
        assert sizes[1] > sizes[2] + row
        places = [ctx.acts(c).x.device.type for c in corpora]
    assert places == [fake_device.NAME, "cpu", fake_device.NAME]


@far
@pytest.mark.parametrize("moved", [1, 4, 1 << 15])
def test_activations_move_in_parts(monkeypatch, moved):
    monkeypatch.setattr(acts, "MOVED", moved)
    here = Acts(torch.randn(9, D), torch.tensor([0, 4, 9]))
    with fake_device.device():
        there = here.on(fake_device.NAME)
        assert there.x.device.type == fake_device.NAME
        assert torch.equal(there.x.cpu(), here.x)
        assert there.offsets is here.offsets


def test_an_error_at_another_hook_holds_on_to_nothing(pico, monkeypatch, tmp_path):
    """What was read before an error is given back before the texts are read again."""
    alive: weakref.WeakSet[Fill] = weakref.WeakSet()
    plain, real = Fill.__init__, pico.collect
    counted: list[int] = []

    def counting(self, *words, **named):
        alive.add(self)
        gc.collect()
        counted.append(len(alive))
        plain(self, *words, **named)

    monkeypatch.setattr(Fill, "__init__", counting)
    other = "blocks.1.hook_resid_post"
    monkeypatch.setattr(
        pico,
        "collect",
        lambda b, hooks: {h: x * (float("inf") if h == other else 1) for h, x in real(b, hooks).items()},
    )
    collect(pico, HOOK, Corpus("t", ("a b", "c")), also=[other], cache=tmp_path)
    assert counted == [1, 2, 1]
