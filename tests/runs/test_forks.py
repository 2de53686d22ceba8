"""Subjects scored side by side in forks of a process."""

import gc
import multiprocessing
import os
import time
from types import SimpleNamespace

import pytest
import torch

from saebench_lite.errors import SaebenchError
from saebench_lite.progress import logger, messages_to
from saebench_lite.runs import forks, job
from saebench_lite.runs.runner import run
from tests.conftest import HOOK

pytestmark = pytest.mark.skipif(not forks.possible(torch.device("cpu")), reason="this system does not fork")


def test_calls_run_elsewhere_and_come_as_they_end():
    """The first call waits for the others; what is logged there is logged here."""
    here, said = os.getpid(), []
    known, done = torch.arange(3), multiprocessing.get_context("fork").Semaphore(0)

    def call(i):
        if i == 0:
            done.acquire()
            done.acquire()
            time.sleep(0.5)
        logger.warning(f"call {i}")
        done.release()
        return i, int(known[i]), os.getpid(), torch.get_num_threads()

    with messages_to(said.append):
        got = list(forks.results([lambda i=i: call(i) for i in range(3)], 2))
    assert [i for i, *_ in got] == [1, 2, 0]
    assert all(i == value and pid != here and threads == 1 for i, value, pid, threads in got)
    assert said == ["call 1", "call 2", "call 0"]


def test_a_call_that_raises_ends_all_of_them():
    started = time.monotonic()
    with pytest.raises(ValueError, match="of a call"):
        list(forks.results([lambda: _raise(ValueError("of a call")), lambda: time.sleep(30)], 2))
    assert time.monotonic() - started < 10


def test_a_process_that_dies_is_one_sentence():
    with pytest.raises(SaebenchError, match=r"process of the run died.*fewer --jobs"):
        list(forks.results([lambda: os._exit(1), lambda: 1], 2))


def test_the_first_sae_and_baselines_start_before_controls_and_other_saes():
    kinds = ["control", "sae", "sae", "baseline", "dictionary"]
    work = [(SimpleNamespace(kind=kind, name=f"{kind} {i}"), []) for i, kind in enumerate(kinds)]
    order = [subject.name for subject, _ in job._early_first(work)]  # pyright: ignore[reportArgumentType] (stand-ins)
    assert order == ["sae 1", "baseline 3", "dictionary 4", "control 0", "sae 2"]


def _raise(error):
    raise error


def test_records_of_two_processes_are_those_of_one(pico, few_texts, sae, tmp_path):
    asked = {"model": pico, "hook": HOOK, "data": few_texts, "tasks": ["concept_detection", "reconstruction"]}
    asked |= {"baselines": ["diff_in_means", "matched_random"], "seeds": 1, "progress": False}
    saes = {name: sae for name in ("a", "b", "c")}
    one, two = (run(saes, **asked, out=tmp_path / str(jobs), jobs=jobs) for jobs in (1, 2))
    told = [{(r.subject.name, r.task.name): (r.status, r.per_unit, r.diagnostics) for r in rs} for rs in (one, two)]
    assert told[0] == told[1]
    again = run(saes, **asked, out=tmp_path / "2", jobs=2)
    assert {r.digest for r in again} == {r.digest for r in two}


def test_what_a_caller_froze_stays_frozen():
    gc.freeze()
    try:
        list(forks.results([lambda: 1, lambda: 2], 2))
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()
    list(forks.results([lambda: 1, lambda: 2], 2))
    assert gc.get_freeze_count() == 0
