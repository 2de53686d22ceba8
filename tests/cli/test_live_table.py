"""The table so far, above the bars of a run."""

from __future__ import annotations

import io
import os

import numpy as np
import pytest
from rich.console import Console

from saebench_lite.cli import terminal
from saebench_lite.cli.run import _tasks_each
from saebench_lite.progress import NoProgress, bars
from saebench_lite.records.record import Record
from saebench_lite.records.types import Kind
from saebench_lite.runs.config import RunConfig
from tests.helpers.record_factory import made_up

VALUES = {"auroc": np.array([[0.6], [0.7], [0.8]])}


def of(name: str, kind: Kind = "sae") -> Record:
    return made_up(name, VALUES, seeds=(1,), kind=kind)


def test_a_table_after_each_sae_cut_to_the_height(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(terminal.shutil, "get_terminal_size", lambda: os.terminal_size((100, 16)))
    with bars(Console(file=io.StringIO(), force_terminal=True, width=100)) as (progress, _):
        live = terminal.LiveTable(progress)
        live.due = -1e9
        live([of("first")])
        assert progress.rich.above == ""  # the first SAE may have more tasks to come
        live([of("first"), of("second")])
        assert "first" in progress.rich.above
        assert "second" not in progress.rich.above
        assert len(progress.rich.above.splitlines()) <= 8
        live.due = -1e9
        live([of("first"), of("second"), of("logistic", "baseline")])
        assert "second" in progress.rich.above


def test_an_sae_with_all_its_tasks_is_shown_at_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(terminal, "fitting", lambda records: " ".join(r.task.name for r in records))
    with bars(Console(file=io.StringIO(), force_terminal=True, width=100)) as (progress, _):
        live = terminal.LiveTable(progress, 2)
        baseline = made_up("logistic", VALUES, seeds=(1,), kind="baseline", task="one")
        one, two = (made_up("first", VALUES, seeds=(1,), task=task) for task in ("one", "two"))
        live([baseline, one])
        assert progress.rich.above == ""
        live([baseline, one, two])
        assert progress.rich.above == "one one two"


def test_it_is_not_made_for_every_record(monkeypatch: pytest.MonkeyPatch):
    made = []
    monkeypatch.setattr(terminal, "fitting", lambda records: made.append(len(records)) or "table")
    with bars(Console(file=io.StringIO(), force_terminal=True)) as (progress, _):
        live = terminal.LiveTable(progress)
        records = [of(f"sae {i}") for i in range(20)]
        for i in range(1, 21):
            live.due = 0.0 if i == 2 else 1e12
            live(records[:i])
    assert made == [1]


def test_no_table_without_bars(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(terminal, "fitting", lambda records: pytest.fail("not asked for"))
    live = terminal.LiveTable(NoProgress())
    live([of("first"), of("second")])


@pytest.mark.parametrize(
    ("asked", "tasks"),
    [
        ({}, 5),
        ({"tasks": ("reconstruction",)}, 1),
        ({"profile": "saebench-0.6"}, 4),
        ({"models": ("world:tiny",)}, None),
    ],
)
def test_how_many_tasks_an_sae_has(asked, tasks):
    assert _tasks_each(RunConfig(**asked, hooks=("h",))) == tasks
