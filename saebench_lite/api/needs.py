"""Packages that only some tasks, settings or baselines need, looked for before a run begins."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from typing import NamedTuple

from saebench_lite.errors import SaebenchError


class Need(NamedTuple):
    """A package that is not among the suite's own dependencies."""

    module: str
    "What is imported."
    extra: str
    "The extra of saebench-lite that brings it."


def check_needs(who: str, needs: Iterable[Need]) -> None:
    """SaebenchError that names the first package which `who` needs and this environment lacks. Imports nothing."""
    for need in needs:
        if not _installed(need.module):
            raise SaebenchError(
                f"{who} needs {need.module}, which is not installed; install it with: pip install"
                f" 'saebench-lite[{need.extra}]'"
            )


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # a module that is shadowed, or None in its place
        return False
