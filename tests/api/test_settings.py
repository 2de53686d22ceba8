"""What a setting's annotation allows, and the one sentence that refuses anything else."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import numpy as np
import pytest

from saebench_lite.api.recorded_settings import recorded
from saebench_lite.api.settings import (
    Count,
    Distinct,
    FileOrFolder,
    Range,
    Settings,
    Share,
    checked,
    make_config,
    notes_of,
)
from saebench_lite.errors import SaebenchError
from saebench_lite.tasks import ce_delta, concept_detection, reconstruction, sparse_probing
from tests.helpers.wrong_values import wrong_settings

if TYPE_CHECKING:
    from nowhere import Unknown  # pyright: ignore[reportMissingImports]  (what a plugin may do)


@dataclass(frozen=True, kw_only=True)
class Inner:
    depth: Count = 1


@dataclass(frozen=True, kw_only=True)
class Plain:
    """A config that knows nothing of `Settings`, as a plugin may bring."""

    way: Literal["a", "b"] = "a"
    number: int = 1
    share: Share = 0.5
    above_zero: Annotated[float, Range(0.0, open=True)] = 1.0
    maybe: Count | None = None
    either: int | str = 1
    name: str = ""
    path: Path = Path()
    on: bool = False
    many: Annotated[tuple[int, ...], Distinct()] = (1,)
    pair: tuple[int, float] = (1, 2.0)
    table: dict[str, float] = dataclasses.field(default_factory=dict)
    inner: Inner = Inner()
    anything: Any = None

    def __post_init__(self) -> None:
        if self.number == 13:
            raise ValueError("number 13 contradicts itself")


def given(**values: Any) -> Plain:
    return checked(Plain, values, "task 'x'")


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"way": "c"}, "task 'x' setting way must be one of a, b; got 'c'"),
        ({"number": "abc"}, "task 'x' setting number must be a whole number; got 'abc'"),
        ({"number": True}, "task 'x' setting number must be a whole number; got True"),
        ({"number": 2.5}, "task 'x' setting number must be a whole number; got 2.5"),
        ({"share": 1.5}, "task 'x' setting share must be a number at least 0 and at most 1; got 1.5"),
        ({"share": math.nan}, "task 'x' setting share must be a number at least 0 and at most 1; got nan"),
        ({"above_zero": 0}, "task 'x' setting above_zero must be a number above 0; got 0"),
        ({"above_zero": math.inf}, "task 'x' setting above_zero must be a number above 0; got inf"),
        ({"maybe": 0}, "task 'x' setting maybe must be a whole number at least 1 or none; got 0"),
        ({"either": 1.5}, "task 'x' setting either must be a whole number or a text; got 1.5"),
        ({"name": 3}, "task 'x' setting name must be a text; got 3"),
        ({"path": 3}, "task 'x' setting path must be a path; got 3"),
        ({"on": 1}, "task 'x' setting on must be true or false; got 1"),
        ({"many": 1}, "task 'x' setting many must be a list; got 1"),
        ({"many": ()}, r"task 'x' setting many must be a list of at least one item; got ()"),
        ({"many": (1, 1)}, "task 'x' setting many must be without repeats; got (1, 1)"),
        ({"many": ("a",)}, "task 'x' setting many must be a list whose items are each a whole number; got ('a',)"),
        ({"pair": (1,)}, "task 'x' setting pair must be a list of 2 items; got (1,)"),
        ({"table": {1: 2}}, "task 'x' setting table must be a mapping whose keys are each a text; got {1: 2}"),
        ({"table": 1}, "task 'x' setting table must be a mapping; got 1"),
        (
            {"inner": {"depth": 0}},
            "task 'x' setting inner must be a mapping as Inner takes it (Inner setting depth must be a whole number at"
            " least 1; got 0); got {'depth': 0}",
        ),
        ({"wya": "a"}, "has no setting 'wya'; it has above_zero, anything, "),
        ({"wya": "a"}, "; did you mean way"),
        ({"number": 13}, "task 'x' does not take these settings: number 13 contradicts itself"),
    ],
)
def test_one_sentence_for_a_wrong_value(values, sentence):
    with pytest.raises(SaebenchError) as error:
        given(**values)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_taken_and_as_what():
    got = given(
        number=np.int64(3), share=1, maybe=2, many=[3, 4], pair=[1, 2], table={"a": 1}, path="x", either="y",
        inner={"depth": 2}, anything=object,
    )  # fmt: skip
    assert (got.number, got.share, got.many, got.pair, got.path) == (3, 1.0, (3, 4), (1, 2.0), Path("x"))
    assert [type(v) for v in (got.number, got.share, got.table["a"], *got.pair)] == [int, float, float, int, float]
    assert got.inner == Inner(depth=2)
    assert given(maybe=None) == Plain() == given()


def test_annotations_that_cannot_be_read_refuse_nothing():
    @dataclass(frozen=True)
    class Odd:
        field: Unknown = 3  # what follows `from __future__ import annotations` may name what is not there
        other: int = 1

    assert checked(Odd, {"field": "anything", "other": "x"}, "task 'x'").other == cast("Any", "x")


def test_a_value_that_is_needed_is_asked_for():
    @dataclass(frozen=True)
    class Needs:
        size: int

    with pytest.raises(SaebenchError, match="task 'x' needs a value of its setting size"):
        checked(Needs, {}, "task 'x'")


def test_a_config_built_directly_is_checked_too():
    @dataclass(frozen=True, kw_only=True)
    class Config(Settings):
        size: Count = 1

    assert dataclasses.asdict(Config(size=4)) == {"size": 4}
    with pytest.raises(SaebenchError, match=r"test_settings\.Config setting size must be a whole number at least 1"):
        Config(size=0)


def test_wrong_values_of_a_plugin_task_are_refused_by_its_annotations_alone():
    task = cast("Any", SimpleNamespace(card=SimpleNamespace(name="theirs"), config=Plain))
    seen = set()
    for field, value in wrong_settings(Plain):
        seen.add(field)
        with pytest.raises(SaebenchError, match=f"^task 'theirs' setting {field} must be .*; got "):
            make_config(task, {field: value})
    assert seen == {f.name for f in dataclasses.fields(Plain)} - {"either", "table", "inner", "anything"}


@pytest.mark.parametrize(
    ("task", "values", "sentence"),
    [
        (sparse_probing, {"probe": "l3"}, "task 'sparse_probing' setting probe must be one of l2_validated, l2, l1"),
        (sparse_probing, {"ks": 1}, "task 'sparse_probing' setting ks must be a list; got 1"),
        (sparse_probing, {"max_train": "abc"}, "setting max_train must be a whole number at least 2; got 'abc'"),
        (concept_detection, {"threshold": "tset"}, "setting threshold must be one of train, test; got 'tset'"),
        (ce_delta, {"blocks": -3}, "setting blocks must be a whole number at least 1; got -3"),
        (reconstruction, {"max_tokens": "many"}, "setting max_tokens must be a whole number at least 1; got 'many'"),
    ],
)
def test_settings_that_once_ran_as_something_else_or_failed_late(task, values, sentence):
    with pytest.raises(SaebenchError, match=sentence):
        make_config(task.TASK, values)
    with pytest.raises(SaebenchError):
        task.Config(**values)


def test_notes_are_what_stands_under_each_field():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Base(Settings):
        a: int = 1
        "First."
        b: int = 2

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Config(Base):
        c: str = "x"
        "Third, of this class."

    assert notes_of(Config) == {"a": "First.", "c": "Third, of this class."}
    assert notes_of(int) == {}


@dataclass(frozen=True, kw_only=True)
class Placed(Settings):
    text: FileOrFolder = "words"
    maybe: FileOrFolder | None = None
    path: Path = Path()
    plain: str = ""


def test_a_record_holds_what_a_file_or_folder_holds_and_not_where_it_lies(tmp_path, monkeypatch):
    for place in ("here", "there"):
        (tmp_path / place / "set" / "inner").mkdir(parents=True)
        (tmp_path / place / "set" / "inner" / "a.txt").write_text("one")
        (tmp_path / place / "b.json").write_text("{}")

    def config(place):
        lies = tmp_path / place
        return Placed(text=str(lies / "set"), maybe=str(lies / "b.json"), path=lies / "b.json", plain=str(tmp_path))

    here = recorded(config("here"))
    assert here == recorded(config("there"))
    assert all(str(here[name]).startswith(start) for name, start in (("text", "set#"), ("maybe", "b.json#")))
    assert here["path"] == here["maybe"]
    assert here["plain"] == str(tmp_path)
    (tmp_path / "there" / "set" / "inner" / "a.txt").write_text("two")
    changed = recorded(config("there"))
    assert changed["text"] != here["text"]
    assert changed["maybe"] == here["maybe"]
    (tmp_path / "there" / "set" / "inner").rename(tmp_path / "there" / "set" / "moved")
    assert recorded(config("there"))["text"] != changed["text"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words").mkdir()
    assert recorded(Placed()) == {"text": "words", "maybe": None, "path": Path(), "plain": ""}
    assert recorded(Placed(text="owner/model"))["text"] == "owner/model"
