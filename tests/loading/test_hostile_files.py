"""A thousand damaged and hostile files: each loads or gives one sentence; no code runs, no memory is taken."""

import random
import resource
import time
from collections import Counter
from pathlib import Path

import pytest

from saebench_lite import registry
from saebench_lite.errors import SaebenchError
from saebench_lite.loading.open import load
from tests.helpers import hostile_archives, mutations

MEMORY = 2**28
"Bytes the process may grow by: imports, and the largest legitimate file many times over."


def outcome(spec: str) -> str:
    """ "loads" or "refused"; any other exception goes through."""
    try:
        load(spec)
    except SaebenchError as error:
        sentence = str(error)
        assert sentence
        assert "\n" not in sentence
        assert sentence.isprintable(), sentence
        assert len(sentence) < 700, sentence
        return "refused"
    return "loads"


def loader_of(source: Path) -> str:
    """The loader that reads a path, or the only thing in it."""
    places = [source, *source.iterdir()]
    return next(n for p in places for n, each in registry.get_all("loaders").items() if each.recognise(p))


def test_every_mutant_loads_or_gives_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("SAEBENCH_LITE_MAX_BYTES", str(2**24))
    sentinel = tmp_path / "code-was-run"
    monkeypatch.setattr(hostile_archives.Foreign, "sentinel", str(sentinel))
    build, rng, seen = tmp_path / "built", random.Random(20260101), Counter()
    used: set[str] = set()
    build.mkdir()
    sources = mutations.sources(build)
    load(str(sources[0]))
    before, slowest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, (0.0, "")
    for number, source in enumerate(sources):
        assert outcome(str(source)) == "loads"
        loader = loader_of(source)
        used.add(loader)
        target = tmp_path / f"{number}" / source.name
        for what in mutations.mutants(source, target, rng, rounds=2):
            started = time.perf_counter()
            try:
                seen[outcome(f"{loader}:{target}")] += 1
                outcome(str(target))
            except Exception as error:
                pytest.fail(f"{what}: {type(error).__name__}: {error}")
            slowest = max(slowest, (time.perf_counter() - started, what))
            assert not sentinel.exists(), what
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert used == set(registry.names("loaders"))
    assert seen.total() >= 1000
    assert min(seen.values()) > 50  # some damage is harmless, most is not
    assert grown < MEMORY, f"{grown / 2**20:.0f} MiB"
    assert slowest[0] < 5, slowest
