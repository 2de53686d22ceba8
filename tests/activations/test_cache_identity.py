"""A cache entry is read only where it is the one asked for; a cache that cannot be written is done without."""

import errno
import json
import os
import shutil
import zlib

import pytest
import torch

from saebench_lite.activations import cache_entry
from saebench_lite.activations.store import collect
from saebench_lite.data.types import Corpus
from saebench_lite.errors import SaebenchError
from saebench_lite.progress import notes_into
from tests.conftest import HOOK

ONE = Corpus("one", ("The cat sat on the mat.", "Rain", "Snow falls in the mountains."))
TWO = Corpus("two", ("The dog sat on the mat.", "Hail", "Rain falls in the mountains."))


def entry(folder):
    return next((folder / "acts").iterdir())


@pytest.fixture
def wanted(pico, tmp_path):
    """(cache folder, its only entry, the activations it should hold)."""
    collect(pico, HOOK, ONE, cache=tmp_path)
    return tmp_path, entry(tmp_path), collect(pico, HOOK, ONE)[0].x


def rewritten(path, change):
    """Changes header and numbers of an entry and gives it the checksum that fits them."""
    raw = bytearray(path.read_bytes())
    header = json.loads(raw[8 : cache_entry.HEADER])
    about = header["__metadata__"]
    del about["crc32"]
    change(header, raw)
    text = json.dumps(header).encode().ljust(cache_entry.HEADER - 8)
    raw[8 : cache_entry.HEADER] = text
    about["crc32"] = f"{zlib.crc32(bytes(raw)):08x}"
    raw[8 : cache_entry.HEADER] = json.dumps(header).encode().ljust(cache_entry.HEADER - 8)
    path.write_bytes(bytes(raw))


def test_an_entry_copied_over_another_is_not_read(pico, wanted):
    folder, path, x = wanted
    other = folder / "other"
    collect(pico, HOOK, TWO, cache=other)
    assert entry(other).name != path.name
    shutil.copy(entry(other), path)
    assert torch.equal(collect(pico, HOOK, ONE, cache=folder)[0].x, x)
    shutil.copy(path, entry(other))  # and the other way round
    assert torch.equal(collect(pico, HOOK, TWO, cache=other)[0].x, collect(pico, HOOK, TWO)[0].x)


def test_rewriting_an_entry_as_it_is_leaves_it_readable(pico, wanted, monkeypatch):
    folder, path, x = wanted
    rewritten(path, lambda header, raw: None)
    monkeypatch.setattr(type(pico), "collect", lambda *a, **k: pytest.fail("not read from the cache"))
    assert torch.equal(collect(pico, HOOK, ONE, cache=folder)[0].x, x)


def as_integers(header, raw):
    header["x"]["dtype"] = "I32"


def narrower(header, raw):
    tokens, d = header["x"]["shape"]
    header["x"]["shape"] = [tokens * 2, d // 2]


def nan(header, raw):
    raw[cache_entry.HEADER : cache_entry.HEADER + 4] = b"\x00\x00\xc0\x7f"


def infinite(header, raw):
    raw[cache_entry.HEADER : cache_entry.HEADER + 4] = b"\x00\x00\x80\x7f"


def empty_text(header, raw):
    raw[-24:-16] = raw[-16:-8]  # the second text ends where it begins


def beyond_the_end(header, raw):
    raw[-8:] = (10**6).to_bytes(8, "little")


def other_key(header, raw):
    header["__metadata__"]["key"] = "0" * 16


def no_counts(header, raw):
    del header["__metadata__"]["asked"]


@pytest.mark.parametrize(
    "change", [as_integers, narrower, nan, infinite, empty_text, beyond_the_end, other_key, no_counts]
)
def test_an_entry_that_does_not_fit_is_made_again_whatever_its_checksum(pico, wanted, change):
    folder, path, x = wanted
    rewritten(path, change)
    assert torch.equal(collect(pico, HOOK, ONE, cache=folder)[0].x, x)
    about = json.loads(path.read_bytes()[8 : cache_entry.HEADER])
    assert about["x"]["dtype"] == "F32"
    assert about["__metadata__"]["key"] == path.stem


def test_every_byte_of_header_and_offsets_is_covered(pico, wanted):
    folder, path, x = wanted
    good = path.read_bytes()
    used = len(good[: cache_entry.HEADER].rstrip())
    for place in [*range(8, used, 7), *range(len(good) - 32, len(good), 5)]:
        damaged = bytearray(good)
        damaged[place] ^= 1
        path.write_bytes(bytes(damaged))
        got = cache_entry.open_entry(path, cache_entry.Expected(len(ONE.texts), pico.width, pico.dtype))
        assert got is None, place
    assert torch.equal(collect(pico, HOOK, ONE, cache=folder)[0].x, x)


def test_a_full_disk_is_a_note_and_leaves_no_file(pico, tmp_path, monkeypatch):
    def full(file, offset, size):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    notes: list[str] = []
    with notes_into(notes):
        acts, _ = collect(pico, HOOK, ONE, cache=tmp_path)
    assert torch.equal(acts.x, collect(pico, HOOK, ONE)[0].x)
    assert notes == [
        "the cache cannot be written (No space left on device), so activations stay in memory; give another folder with"
        " --cache"
    ]
    assert list((tmp_path / "acts").iterdir()) == []


def test_a_cache_that_is_a_file_is_a_note(pico, tmp_path):
    (tmp_path / "cache").write_text("x")
    notes: list[str] = []
    with notes_into(notes):
        acts, _ = collect(pico, HOOK, ONE, cache=tmp_path / "cache")
    assert len(acts) == 3
    assert len(notes) == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_activations_that_are_not_finite_are_refused_with_their_number_and_place(pico, tmp_path, monkeypatch, value):
    real = type(pico).collect

    def odd(self, batch, hooks):
        out = real(self, batch, hooks)
        for hook, acts in out.items():
            if hook == HOOK:
                acts[batch.attention.sum(1) < 5, 1, :3] = value  # the short text "Rain"
        return out

    want = pytest.raises(SaebenchError, match=r"^3 activations of pico at .* in float32, the first in text 1 of 'one'")
    monkeypatch.setattr(type(pico), "collect", odd)
    with want:
        collect(pico, HOOK, ONE, cache=tmp_path)
    assert list((tmp_path / "acts").iterdir()) == []
    other = "blocks.1.hook_resid_post"
    acts, _ = collect(pico, other, ONE, also=[HOOK], cache=tmp_path)  # another hook does not suffer for it
    assert acts.x.isfinite().all()
