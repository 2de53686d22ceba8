"""Collected activations equal a plain forward, text by text; the cache is by content and mends itself."""

import numpy as np
import pytest
import torch

from saebench_lite.activations.acts import Acts
from saebench_lite.activations.pooling import latent_blocks, pooled_acts
from saebench_lite.activations.store import collect, collect_many
from saebench_lite.data.types import Corpus
from saebench_lite.errors import SaebenchError
from tests.conftest import HOOK

TEXTS = ("The cat sat on the mat.", "Rain", "A much longer text about the weather in the mountains and the sea.")


def plain(pico, text: str) -> torch.Tensor:
    ids = torch.tensor([pico.tokenizer(text)["input_ids"]])
    with torch.no_grad():
        return pico.net(ids, output_hidden_states=True).hidden_states[3][0, 1:]  # without BOS


@pytest.mark.parametrize("on_disk", [False, True])
def test_activations_match_a_plain_forward(pico, tmp_path, on_disk):
    acts, notes = collect(pico, HOOK, Corpus("t", TEXTS), cache=tmp_path if on_disk else None, batch_tokens=8)
    assert notes == []
    for i, text in enumerate(TEXTS):
        row = acts.x[acts.offsets[i] : acts.offsets[i + 1]]
        torch.testing.assert_close(row, plain(pico, text), rtol=1e-4, atol=1e-4)
    last, _ = collect(pico, HOOK, Corpus("t", TEXTS), tokens="last")
    assert torch.equal(last.offsets, torch.arange(4))
    torch.testing.assert_close(last.x, acts.x[acts.offsets[1:] - 1], rtol=1e-4, atol=1e-4)


def test_cache_is_used_and_a_damaged_entry_is_rebuilt(pico, tmp_path, monkeypatch):
    corpus = Corpus("t", TEXTS)
    first, _ = collect(pico, HOOK, corpus, cache=tmp_path)
    entry = next((tmp_path / "acts").iterdir())
    calls = []
    real = type(pico).collect
    monkeypatch.setattr(type(pico), "collect", lambda *a, **k: calls.append(1) or real(*a, **k))
    again, _ = collect(pico, HOOK, corpus, cache=tmp_path)
    assert not calls
    assert torch.equal(first.x, again.x)
    want = first.x.clone()  # the entry is mapped, and about to be damaged
    data = bytearray(entry.read_bytes())
    data[-40] ^= 1
    entry.write_bytes(bytes(data))
    mended, _ = collect(pico, HOOK, corpus, cache=tmp_path)
    assert calls
    assert torch.equal(mended.x, want)
    entry.write_bytes(entry.read_bytes()[:100])
    assert torch.equal(collect(pico, HOOK, corpus, cache=tmp_path)[0].x, want)


def test_a_hit_tokenises_nothing_and_says_the_same(pico, tmp_path, monkeypatch):
    corpus = Corpus("t", TEXTS, context=6)
    first, notes = collect(pico, HOOK, corpus, cache=tmp_path)
    assert len(notes) == 1
    monkeypatch.setattr(type(pico), "tokenize", lambda *a, **k: pytest.fail("tokenised"))
    again, same = collect(pico, HOOK, corpus, cache=tmp_path)
    assert same == notes
    assert torch.equal(first.x, again.x)


def test_another_reading_of_the_same_vocabulary_is_another_entry(pico, tmp_path, monkeypatch):
    collect(pico, HOOK, Corpus("t", TEXTS), cache=tmp_path)
    plain, tokenizer = pico.tokenizer_fingerprint(), pico.tokenizer
    monkeypatch.setattr(pico, "tokenizer", lambda text, **kwargs: tokenizer(text.lower(), **kwargs))
    assert pico.tokenizer_fingerprint() != plain
    monkeypatch.setattr(type(pico), "tokenizer_fingerprint", lambda self: "other")
    monkeypatch.setattr(pico, "tokenizer", tokenizer)
    collect(pico, HOOK, Corpus("t", TEXTS), cache=tmp_path)
    assert len(list((tmp_path / "acts").iterdir())) == 2


def test_other_content_other_entry(pico, tmp_path):
    collect(pico, HOOK, Corpus("t", TEXTS), cache=tmp_path)
    collect(pico, HOOK, Corpus("t", TEXTS[:2]), cache=tmp_path)
    collect(pico, "blocks.1.hook_resid_post", Corpus("t", TEXTS), cache=tmp_path)
    collect(pico, HOOK, Corpus("renamed", TEXTS), cache=tmp_path)
    assert len(list((tmp_path / "acts").iterdir())) == 3


def test_many_hooks_take_one_pass_and_an_entry_each(pico, tmp_path, monkeypatch):
    hooks = ["blocks.1.hook_resid_post", HOOK, "blocks.3.hook_mlp_out"]
    corpus = Corpus("t", TEXTS)
    alone = {hook: collect(pico, hook, corpus)[0].x for hook in hooks}
    collect(pico, HOOK, corpus, cache=tmp_path)
    asked: list[list[str]] = []
    real = type(pico).collect
    monkeypatch.setattr(type(pico), "collect", lambda self, b, hooks: asked.append(list(hooks)) or real(self, b, hooks))
    together = collect_many(pico, hooks, corpus, cache=tmp_path)
    assert asked == [[hooks[0], hooks[2]]]  # what the cache lacks
    assert all(torch.equal(together[hook].acts.x, alone[hook]) for hook in hooks)
    assert len(list((tmp_path / "acts").iterdir())) == 3
    for hook in hooks:
        assert torch.equal(collect(pico, hook, corpus, cache=tmp_path)[0].x, alone[hook])
    assert len(asked) == 1
    collect(pico, hooks[0], corpus, also=hooks[1:], cache=tmp_path / "other")
    assert asked[1:] == [hooks]
    assert len(list((tmp_path / "other" / "acts").iterdir())) == 3
    collect(pico, hooks[0], corpus, also=hooks[1:])
    assert asked[2:] == [hooks[:1]]  # without a cache there is nowhere to leave the others


def test_an_interrupted_pass_leaves_nothing(pico, tmp_path):
    class Stop:
        def update(self, stage, done, total):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(pico, HOOK, Corpus("t", TEXTS), cache=tmp_path, progress=Stop())
    assert list((tmp_path / "acts").iterdir()) == []


def test_progress_counts_the_texts_of_a_pass_and_of_a_hit(pico, tmp_path):
    updates: list[tuple[str, int, int]] = []

    class Updates:
        def update(self, stage, done, total):
            updates.append((stage, done, total))

    for _ in range(2):
        collect(pico, HOOK, Corpus("t", TEXTS), cache=tmp_path, batch_tokens=8, progress=Updates())
    assert [done for _, done, _ in updates] == [1, 2, 3, 3]
    assert {(stage, total) for stage, _, total in updates} == {("activations of t", 3)}


def test_long_texts_are_cut_with_a_note(pico):
    acts, notes = collect(pico, HOOK, Corpus("t", (TEXTS[2],), context=6))
    assert acts.tokens == 5
    assert notes == ["1 of 1 texts of 't' fill the context of 6 tokens (cut on the right)"]
    with pytest.raises(SaebenchError, match="more than the context of 6"):
        collect(pico, HOOK, Corpus("t", (TEXTS[2],), long_texts="refuse", context=6))


def test_text_without_a_real_token_is_named(pico):
    with pytest.raises(SaebenchError, match=r"dataset 't' text 1 \('<\|endoftext\|>'\) has no token besides special"):
        collect(pico, HOOK, Corpus("t", ("a", "<|endoftext|>")))


def test_chunks_hold_whole_texts_once():
    offsets = torch.tensor([0, 3, 4, 10, 11])
    acts = Acts(torch.arange(11.0)[:, None], offsets)
    seen = []
    for texts, x, owner in acts.chunks(5):
        assert len(x) == len(owner) <= 6
        seen += x[:, 0].tolist()
        assert torch.equal(torch.bincount(owner), offsets.diff()[texts])
    assert seen == list(range(11))
    taken = acts.take(np.array([2, 0]))
    assert taken.x[:, 0].tolist() == [4, 5, 6, 7, 8, 9, 0, 1, 2]
    assert pooled_acts(acts, "mean")[:, 0].tolist() == [1.0, 3.0, 6.5, 10.0]


def test_blocks_cover_all_latents_within_memory():
    blocks = latent_blocks(1000, 50, 2, memory=4 * 50 * 2 * 300)
    assert [len(b) for b in blocks] == [300, 300, 300, 100]
    assert latent_blocks(10, 50, 1, memory=1 << 30) == [range(10)]
    assert len(latent_blocks(10, 50, 1, memory=1)) == 10
