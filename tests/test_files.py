"""Files and folders appear whole or not at all."""

import errno
from pathlib import Path

import pytest

from saebench_lite.errors import SaebenchError
from saebench_lite.files import atomic_path, check_place, write_text


def test_a_file_replaces_the_one_before_when_the_block_ends(tmp_path):
    target = tmp_path / "deep" / "x.bin"
    with atomic_path(target) as partial:
        partial.write_bytes(b"one")
        assert not target.exists()
    with atomic_path(target) as partial:
        partial.write_bytes(b"two")
        assert target.read_bytes() == b"one"
    assert target.read_bytes() == b"two"
    assert [p.name for p in target.parent.iterdir()] == ["x.bin"]


def test_an_error_leaves_what_was_there(tmp_path):
    write_text(tmp_path / "x", "before")

    def fail() -> None:
        with atomic_path(tmp_path / "x") as partial:
            partial.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert (tmp_path / "x").read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_full_disk_names_the_file(tmp_path):
    def fail(number: int) -> None:
        with atomic_path(tmp_path / "x"):
            raise OSError(number, "no room")

    with pytest.raises(OSError, match=r"no room: '.*/x'"):
        fail(errno.ENOSPC)
    with pytest.raises(OSError, match=r"no room$"):
        fail(errno.ECONNRESET)


def test_a_folder_appears_with_all_its_files(tmp_path):
    with atomic_path(tmp_path / "data") as partial:
        partial.mkdir()
        (partial / "a").write_text("a")
        assert not (tmp_path / "data").exists()
    assert (tmp_path / "data" / "a").read_text() == "a"
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o755


def test_a_place_that_cannot_be_is_a_sentence_and_nothing_is_made(tmp_path: Path):
    check_place("out", tmp_path / "new" / "folder")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "below", tmp_path / "file", Path("/proc/new")):
        with pytest.raises(SaebenchError, match=r"out '.*' cannot be written to \(.+\); give another folder"):
            check_place("out", place)
