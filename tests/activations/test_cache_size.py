"""The cache folder: what it holds by kind, and what is deleted from it."""

import os
import time

import pytest
from typer.testing import CliRunner

from saebench_lite.activations.cache_size import LIMIT, cache_entries, clear_cache, shrink_cache
from saebench_lite.activations.store import collect
from saebench_lite.cli import main
from saebench_lite.errors import SaebenchError
from saebench_lite.files import cache_root, mark_used
from saebench_lite.runs.runner import run
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
        "models: 2.0 MiB in 1 entry",
    )
    rest = ("data sets: 0.0 MiB in 1 entry", "judges' answers: 0.0 MiB in 0 entries")
    limit = "limit of activations and controls after a run: 20 GiB (SAEBENCH_LITE_CACHE_LIMIT)\n"
    assert call() == call("show") == "\n".join((str(root), *sizes, *rest, limit))
    assert call("clear", "--older-than", "5") == "deleted: 1.0 MiB in 1 entry\n"
    assert call("clear", "--all") == "deleted: 5.0 MiB in 3 entries\n"
    assert [p.name for p in root.iterdir() if p.is_file()] == ["mine.txt"]
    assert call("clear") == "deleted: 0.0 MiB in 0 entries\n"
    assert "--older-than is -1.0; give a number of days" in call("clear", "--older-than", "-1", code=2)
    assert call("show", "--cache", str(root / "none")).splitlines()[0] == str(root / "none")
    assert cache_root() == root


def test_the_least_recently_used_goes_first_and_nothing_that_was_pulled(root):
    (root / "judge/m").mkdir(parents=True)
    for days, place in ((2, "acts/two"), (5, "controls/five/w"), (1, "acts/.partial-1/x")):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_bytes(b"x" * (1 << 20))
        then = time.time() - days * DAY + 60
        for path in (root / place, (root / place).parent):
            os.utime(path, (then, then))
    assert shrink_cache(root, 7 << 20) == []
    assert names(shrink_cache(root, 5 << 20)) == ["old.safetensors", "five"]
    mark_used(root / "acts/two")
    assert names(shrink_cache(root, 0, used_before=time.time() - 60)) == []  # one partial, two of this run
    assert names(shrink_cache(root, 2 << 20)) == ["new.safetensors"]
    assert names(shrink_cache(root, 0)) == ["two"]
    os.utime(root / "acts/.partial-1/x", (0, 0))
    os.utime(root / "acts/.partial-1", (0, 0))
    assert names(shrink_cache(root, 0)) == [".partial-1"]  # of a run that was killed
    assert sorted(e.kind for e in cache_entries(root)) == ["data sets", "judges' answers", "models"]


def test_reading_an_entry_is_using_it(pico, few_texts, tmp_path):
    corpus = few_texts.texts[0]
    collect(pico, HOOK, corpus, cache=tmp_path)
    (path,) = (tmp_path / "acts").iterdir()
    os.utime(path, (0, 0))
    before = time.time() - 1
    collect(pico, HOOK, corpus, cache=tmp_path)
    assert path.stat().st_mtime >= before


def test_a_run_ends_below_the_limit_and_spares_its_own(root, few_texts, monkeypatch, caplog):
    def scored(limit: str) -> list[str]:
        monkeypatch.setenv(LIMIT, limit)
        with caplog.at_level("INFO", "saebench_lite"):
            run([], data=few_texts, tasks="reconstruction", baselines="neurons", seeds=1, progress=False)
        return sorted(p.name for p in (root / "acts").iterdir())

    assert {"new.safetensors", "old.safetensors"} <= set(scored("none"))
    os.utime(root / "acts/new.safetensors", (time.time() - DAY, time.time() - DAY))
    left = scored("0.003")
    assert "new.safetensors" not in left
    assert "old.safetensors" not in left
    assert left
    assert "cache: deleted 4.0 MiB in 2 entries" in caplog.text
    assert scored("0") == left
    assert (root / "models/m/weights").exists()
    with pytest.raises(SaebenchError, match="SAEBENCH_LITE_CACHE_LIMIT is '5GB'; give a number of GiB"):
        scored("5GB")


def test_clearing_down_to_a_size(root):
    assert call("clear", "--down-to", "0.003") == "deleted: 1.0 MiB in 1 entry\n"
    assert "--down-to is -1.0" in call("clear", "--down-to", "-1", code=2)
    assert "--down-to is 1e+308; give a number of GiB" in call("clear", "--down-to", "1e308", code=2)
    assert "give it alone" in call("clear", "--down-to", "1", "--all", code=2)


def test_a_link_in_the_cache_is_taken_away_and_not_what_it_points_to(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    (other / "weights").write_text("x")
    (root / "models" / "link").symlink_to(other)
    assert "link" in names(clear_cache(root, ("models",)))
    assert (other / "weights").exists()
