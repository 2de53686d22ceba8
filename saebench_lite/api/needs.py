"""Packages that only some tasks, settings or baselines need, looked for before a run begins."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from saebench_lite.errors import require


class Need(NamedTuple):
    """A package that is not among the suite's own dependencies."""

    module: str
    "What is imported."
    extra: str
    "The extra of saebench-lite that brings it."


def check_needs(who: str, needs: Iterable[Need]) -> None:
    """SaebenchError that names the first package which `who` needs and this environment lacks. Imports nothing."""
    for need in needs:
        require(who, need.module, need.extra)
