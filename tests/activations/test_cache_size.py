"""The cache folder: what it holds by kind, and what is deleted from it."""

import os
import time

import pytest
from typer.testing import CliRunner

from saebench_lite.activations.cache_size import cache_entries, clear_cache
from saebench_lite.activations.store import collect
from saebench_lite.cli import main
from saebench_lite.files import cache_root
from tests.conftest import HOOK

DAY = 24 * 3600


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Two entries of activations (one unused for ten days), a model of two files, a data set, a file of someone's."""
    monkeypatch.setenv("SAEBENCH_LITE_CACHE", str(tmp_path))
    for place, size in (
        ("acts/new.safetensors", 3 << 20),
        ("acts/old.safetensors", 1 << 20),
        ("models/m/weights", 2 << 20),
        ("models/m/config", 512),
        ("sae-probes-0.4.2/data/x.csv", 100),
        ("mine.txt", 7),
    ):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(b"x" * size)
    then = time.time() - 10 * DAY
    os.utime(tmp_path / "acts/old.safetensors", (then, then))
    return tmp_path


def names(entries) -> list[str]:
    return [e.path.name for e in entries]


def test_entries_by_kind_largest_first(root):
    entries = cache_entries(root)
    assert names(entries) == ["new.safetensors", "m", "old.safetensors", "sae-probes-0.4.2"]
    assert [e.kind for e in entries] == ["activations", "models", "activations", "data sets"]
    assert [e.size for e in entries] == [3 << 20, (2 << 20) + 512, 1 << 20, 100]
    assert cache_entries(root / "none") == []


def test_what_a_run_makes_is_an_entry_and_is_made_again(pico, few_texts, tmp_path):
    corpus = few_texts.texts[0]
    acts, _ = collect(pico, HOOK, corpus, cache=tmp_path)
    (entry,) = cache_entries(tmp_path)
    assert entry.kind == "activations"
    assert entry.size >= acts.x.numel() * acts.x.element_size()
    kept = acts.x.clone()
    assert clear_cache(tmp_path) == [entry]
    assert cache_entries(tmp_path) == []
    again, _ = collect(pico, HOOK, corpus, cache=tmp_path)
    assert (again.x == kept).all()


def test_age_is_since_the_last_use(root):
    assert names(clear_cache(root, older_than=20)) == []
    now = time.time()
    os.utime(root / "acts/new.safetensors", (now, now - 30 * DAY))  # written long ago, read just now
    assert names(clear_cache(root, older_than=5)) == ["old.safetensors"]
    assert names(clear_cache(root)) == ["new.safetensors"]
    assert (root / "mine.txt").exists()
    assert (root / "models/m/weights").exists()


def call(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(main.app, ["cache", *words])
    assert done.exit_code == code, done.output
    return done.output


def test_the_command_shows_and_clears(root):
    sizes = (
        "activations: 4.0 MiB in 2 entries",
        "preparations: 0.0 MiB in 0 entries",
        "controls: 0.0 MiB in 0 entries",
    )
    shown = "\n".join((str(root), *sizes, "models: 2.0 MiB in 1 entry", "data sets: 0.0 MiB in 1 entry\n"))
    assert call() == call("show") == shown
    assert call("clear", "--older-than", "5") == "deleted: 1.0 MiB in 1 entry\n"
    assert call("clear", "--all") == "deleted: 5.0 MiB in 3 entries\n"
    assert [p.name for p in root.iterdir() if p.is_file()] == ["mine.txt"]
    assert call("clear") == "deleted: 0.0 MiB in 0 entries\n"
    assert "--older-than is -1.0; give a number of days" in call("clear", "--older-than", "-1", code=2)
    assert call("show", "--cache", str(root / "none")).splitlines()[0] == str(root / "none")
    assert cache_root() == root


def test_a_link_in_the_cache_is_taken_away_and_not_what_it_points_to(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "weights").write_text("x")
    (root / "models" / "link").symlink_to(other)
    assert "link" in names(clear_cache(root, ("models",)))
    assert (other / "weights").exists()
