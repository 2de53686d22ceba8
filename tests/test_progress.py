"""How far a run has come: bars on a terminal, HTML in a notebook, nothing elsewhere."""

import io
import re
import sys
import types

import pytest
from rich.console import Console

from saebench_lite import progress
from saebench_lite.progress import NoProgress, shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_nothing_where_nobody_looks(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    with shown() as made:
        made.update("evaluations", 1, 2)
        assert isinstance(made, NoProgress)
    assert stream.getvalue() == ""


def test_bars_on_a_terminal_go_when_they_are_done(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with progress.bars() as (made, above):
        made.update("evaluations", 1, 2)
        above("a [sentence]")
        made.update("evaluations", 2, 2)
    text = terminal.getvalue()
    assert "evaluations" in text
    assert "a [sentence]" in re.sub(r"\x1b\[[0-9;]*m", "", text)  # brackets are no markup
    assert "2/2" in text
    assert text.rstrip().endswith("\x1b[2K")  # the line of the bar is erased


def test_bars_show_a_text_what_is_worked_on_and_the_time_left():
    terminal = Terminal()
    with progress.bars(Console(file=terminal, force_terminal=True, width=80)) as (made, _):
        made.update("evaluations", 1, 4)
        made.show("the [table] so far\nin two lines")
        made.doing("topk: ce_delta")
        made.rich.refresh()
        made.show("another")
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    assert "the [table] so far" in text
    assert "in two lines" in text
    assert "topk: ce_delta" in text
    assert re.search(r"1/4 0:00:0\d left", text)
    assert "another" in text.split("topk: ce_delta")[-2] + text.split("topk: ce_delta")[-1]


def test_what_does_not_show_what_is_worked_on_is_left_alone():
    progress.doing(NoProgress(), "topk")


class Handle:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def update(self, html: str) -> None:
        self.texts.append(html)


@pytest.fixture
def cell(monkeypatch) -> Handle:
    """A notebook's kernel, and the output of the cell that runs."""
    handle = Handle()
    ipython, display = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    ipython.__dict__["get_ipython"] = lambda: types.SimpleNamespace(kernel=object())
    display.__dict__.update(HTML=str, display=lambda html, display_id: handle.update(html) or handle)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return handle


def test_a_notebook_shows_the_stage_and_then_nothing(cell):
    with shown() as made:
        made.update("<texts>", 3, 10)
        made.update("<texts>", 4, 10)  # at once: left out
        made.update("evaluations", 1, 2)
    first, texts, evaluations, last = cell.texts
    assert first == last == ""
    assert texts == '&lt;texts&gt; <progress value="3" max="10"></progress> 3/10'
    assert evaluations.endswith(" 1/2")


def test_a_notebooks_bar_goes_where_a_run_fails(cell):
    def fails() -> None:
        with shown() as made:
            made.update("evaluations", 1, 2)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert cell.texts[-1] == ""


def test_a_shell_is_no_notebook(cell, monkeypatch):
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: types.SimpleNamespace())
    assert not progress.in_notebook()
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: None)
    assert not progress.in_notebook()
