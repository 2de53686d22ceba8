"""A broken or doubled plugin costs nobody a run but those who name it."""

import logging
from types import SimpleNamespace

import pytest

from saebench_lite import registry
from saebench_lite.errors import SaebenchError
from saebench_lite.registry import Entry
from saebench_lite.runs import subjects
from saebench_lite.runs.setup import unasked_tasks

SITE = SimpleNamespace(planted=False)


def raising():
    raise ImportError("no module named 'nowhere'")


BROKEN = Entry("fancy", "broken", "1.0", "broken", raising)
NONSENSE = Entry("odd", "broken", "1.0", "broken", lambda: 3)
TWICE = Entry("reconstruction", "other", "1.0", "other", lambda: None)


@pytest.fixture
def plugged():
    with registry.only_within():
        before = unasked_tasks()
        for entry in (BROKEN, NONSENSE, TWICE):
            registry.add("tasks", entry)
        for kind in ("baselines", "loaders", "sources"):
            registry.add(kind, BROKEN)
        registry.add("baselines", NONSENSE)
        yield before


def test_a_run_that_names_no_tasks_leaves_broken_ones_out_with_a_sentence(plugged, caplog):
    with caplog.at_level(logging.WARNING, "saebench_lite"):
        chosen = unasked_tasks()
    assert chosen == [name for name in plugged if name != "reconstruction"]
    said = " ".join(record.getMessage() for record in caplog.records)
    assert "task 'fancy' of broken 1.0 cannot be imported" in said
    assert "two tasks are called 'reconstruction', from saebench-lite and other" in said
    assert said.count("it is left out") == 3
    caplog.clear()
    assert unasked_tasks(said=False) == chosen
    assert not caplog.records


def test_a_run_that_names_no_baselines_does_the_same(plugged, caplog):
    ctx = SimpleNamespace(lm=SITE)
    with caplog.at_level(logging.WARNING, "saebench_lite"):
        chosen = subjects._default_baselines(ctx)  # type: ignore[arg-type]  # one of its members
    assert "diff_in_means" in chosen
    assert not {"fancy", "odd"} & set(chosen)
    assert sum("it is left out" in record.getMessage() for record in caplog.records) == 2


@pytest.mark.parametrize("name", ["fancy", "reconstruction"])
def test_whoever_names_one_is_told(plugged, name):
    with pytest.raises(SaebenchError, match=r"cannot be imported|two tasks are called"):
        registry.get("tasks", name)
