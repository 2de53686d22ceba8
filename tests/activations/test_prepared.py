"""What subjects share in the cache: the same numbers with and without it, damaged entries made again."""

from __future__ import annotations

import os

import pytest
import torch
from safetensors.torch import load_file

from saebench_lite.activations.prepared import prepared
from saebench_lite.api.context import EvalContext
from saebench_lite.tasks import _absorption_fits, absorption, ce_delta
from tests.conftest import HOOK

MADE = {
    "weight": torch.arange(6, dtype=torch.float64).view(2, 3),
    "used": torch.tensor([True, False]),
    "acts": torch.linspace(-1, 1, 5).bfloat16(),
    "none": torch.zeros(0, 3),
}


def made_once(path):
    """The entry at `path`, and how often it was made to get it."""
    calls = []
    got = prepared(path, lambda: calls.append(1) or MADE)
    for name, tensor in MADE.items():
        assert same(got[name], tensor)
    return len(calls)


def test_an_entry_is_made_once_bit_for_bit_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "prepared" / "e.safetensors"
    assert [made_once(path), made_once(path)] == [1, 0]
    assert os.listdir(path.parent) == ["e.safetensors"]
    assert made_once(None) == 1
    os.utime(path, (0, 0))
    assert made_once(path) == 0
    assert path.stat().st_mtime > 0  # read, so used now


@pytest.mark.parametrize("damage", ["number", "cut", "text", "empty", "other"])
def test_a_damaged_entry_is_made_again(tmp_path, damage):
    path = tmp_path / "e.safetensors"
    made_once(path)
    whole = path.read_bytes()
    changed = {
        "number": whole[:-1] + bytes([whole[-1] ^ 1]),
        "cut": whole[: len(whole) // 2],
        "text": b"no tensors",
        "empty": b"",
    }
    if damage == "other":
        path = path.rename(tmp_path / "f.safetensors")  # whole, but of another key
    else:
        path.write_bytes(changed[damage])
    assert [made_once(path), made_once(path)] == [1, 0]


def test_a_cache_that_cannot_be_written_is_said_and_does_no_harm(tmp_path, caplog):
    (tmp_path / "file").write_text("x")
    assert made_once(tmp_path / "file" / "e.safetensors") == 1
    assert "cannot be written" in caplog.text


def test_an_entry_depends_on_the_identity_the_hook_and_the_model(pico, few_texts, tmp_path):
    calls = []

    def ask(hook, identity):
        ctx = EvalContext(pico, hook, few_texts, cache=tmp_path)
        ctx.prepared("test", identity, lambda: calls.append((hook, identity)) or MADE)

    asked = [(HOOK, 1), (HOOK, 2), ("blocks.1.hook_resid_post", 1)]
    for hook, identity in asked * 2:
        ask(hook, identity)
    assert calls == asked


def same(a, b) -> bool:
    """Whether two nested values hold the same numbers, bit for bit."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def test_ce_delta_reads_the_models_passes(pico, few_texts, tmp_path, monkeypatch):
    cfg = ce_delta.Config(max_tokens=400)
    without = ce_delta.prepare(EvalContext(pico, HOOK, few_texts), cfg, [])
    assert same(without, ce_delta.prepare(EvalContext(pico, HOOK, few_texts, cache=tmp_path), cfg, []))
    monkeypatch.setattr(ce_delta, "_passes", None)  # what calls it fails
    again = ce_delta.prepare(EvalContext(pico, HOOK, few_texts, cache=tmp_path), cfg, [])
    assert same(without, again)
    other = ce_delta.Config(max_tokens=400, ablate="all")
    with pytest.raises(TypeError):
        ce_delta.prepare(EvalContext(pico, HOOK, few_texts, cache=tmp_path), other, [])


def test_absorption_reads_the_models_own_probes(pico, few_texts, tmp_path, monkeypatch):
    cfg = absorption.Config(max_words=300, examples=1, contexts="sentences", min_probe_f1=0.0)

    def truths(cache):
        return [p.truth for p in absorption.prepare(EvalContext(pico, HOOK, few_texts, cache=cache), cfg, [42])]

    without = truths(None)
    assert same(without, truths(tmp_path))
    monkeypatch.setattr(_absorption_fits, "fit_truth", None)
    assert same(without, truths(tmp_path))


def test_which_words_are_one_token_is_told_anew_for_other_prompts(pico, few_texts, tmp_path):
    """The same words after one example and after two are two entries, and a later run makes no third."""

    def masks(examples: int) -> int:
        cfg = absorption.Config(max_words=300, examples=examples, contexts="examples", min_probe_f1=0.0)
        absorption.prepare(EvalContext(pico, HOOK, few_texts, cache=tmp_path), cfg, [42])
        return sum(load_file(f).keys() == {"single"} for f in (tmp_path / "prepared").iterdir())

    assert [masks(1), masks(2), masks(1)] == [1, 2, 2]
