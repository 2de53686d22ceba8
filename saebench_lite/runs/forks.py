"""Calls in several processes of this machine that share what this one has in memory: its forks, of one thread each.

On a CPU small products keep one core busy and leave the others waiting; a subject a core keeps all of them busy.
"""

from __future__ import annotations

import gc
import multiprocessing
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import torch

from saebench_lite.errors import SaebenchError
from saebench_lite.progress import logger, messages_to

T = TypeVar("T")
_calls: Sequence[Callable[[], Any]] = ()
"What the forks call; they inherit it."


def possible(device: torch.device) -> bool:
    """Whether this process can fork and go on computing: Linux, and nothing has been asked of a GPU."""
    forks = sys.platform == "linux" and not multiprocessing.current_process().daemon
    return forks and device.type == "cpu" and not torch.cuda.is_initialized()


def results(calls: Sequence[Callable[[], T]], processes: int) -> Iterator[T]:
    """What each call returns, in the order in which they end; they start in the order given.

    Warnings that a call logs are logged here when it ends. SaebenchError if a process dies.

    Args:
        calls: whose results can be pickled.
        processes: how many run at a time.
    """
    global _calls  # noqa: PLW0603  (forks inherit it, so that no call has to be pickled)
    before = set(multiprocessing.active_children())
    _calls = calls
    frozen = gc.get_freeze_count()
    gc.freeze()  # what is there by now stays: the forks need not look through it for cycles
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("fork"), _begin)
    finished = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads; ours use none of theirs
            waiting = [pool.submit(_call, i) for i in range(len(calls))]
        for done in as_completed(waiting):
            value, sentences = done.result()
            for sentence in sentences:
                logger.warning(sentence)
            yield value
        finished = True
    except BrokenProcessPool as error:
        raise SaebenchError(
            "a process of the run died, perhaps for want of memory; run again to do the rest, with fewer --jobs"
        ) from error
    finally:
        if not finished:
            for child in set(multiprocessing.active_children()) - before:
                child.terminate()
        pool.shutdown(cancel_futures=True)
        if not frozen:
            gc.unfreeze()
        _calls = ()


def _begin() -> None:
    torch.set_num_threads(1)  # the threads of the process that was forked are not there
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # its parent ends it


def _call(i: int) -> tuple[Any, list[str]]:
    sentences: list[str] = []
    with messages_to(sentences.append):
        value = _calls[i]()
    return value, sentences
