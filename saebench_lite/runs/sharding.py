"""Shares of a run for processes that know nothing of one another, such as the elements of a job array."""

from __future__ import annotations

import re
from dataclasses import dataclass

from saebench_lite.errors import SaebenchError


@dataclass(frozen=True)
class Shard:
    """Part `index` (from 1) of `of`: each subject belongs to one, with all its tasks, so that one process codes it."""

    index: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The shard written "i/n"; SaebenchError if it is not one."""
        first, slash, second = text.partition("/")
        if slash and re.fullmatch(r"[0-9]{1,9}/[0-9]{1,9}", text) and 1 <= int(first) <= int(second):
            return cls(int(first), int(second))
        raise SaebenchError(f"shard {text!r} is not understood; write i/n with i from 1 to n, such as 2/8")

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"

    def owns(self, place: int) -> bool:
        """Whether the subject at this place among the names in order is this part's."""
        return place % self.of == self.index - 1
