"""What both sides' processes measure themselves with; the standard library alone, as either environment has it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple, Self


class Spent(NamedTuple):
    """Seconds of this process and its children, and by the clock."""

    cpu: float
    wall: float

    @classmethod
    def now(cls) -> Self:
        """Since some fixed moment: differences count, but `cpu` is since the process began."""
        return cls(sum(os.times()[:4]), time.monotonic())

    def since(self, before: Spent) -> Spent:
        """From `before` to here."""
        return Spent(self.cpu - before.cpu, self.wall - before.wall)

    def plus(self, other: Spent) -> Spent:
        """Both together."""
        return Spent(self.cpu + other.cpu, self.wall + other.wall)


@dataclass(frozen=True)
class Measured:
    """One evaluation of two SAEs in a process of its own."""

    importing: Spent
    "Until the evaluation could begin: the interpreter, the libraries."
    first: Spent
    "Loading the model and the data, what SAEs share, and the first SAE."
    further: Spent
    "The second SAE of the same call."
    versions: dict[str, str] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    "Of the first SAE: scores that show whether both sides read the same."

    def save(self, path: Path) -> None:
        """Writes JSON."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Self:
        """What `save` wrote."""
        read = json.loads(path.read_text())
        times = {name: Spent(*read.pop(name)) for name in ("importing", "first", "further")}
        return cls(**times, **read)


class Timed(list[tuple[str, object]]):
    """(name, SAE) pairs that note the moment at which a loop asks for each."""

    def __init__(self, pairs: Iterable[tuple[str, object]]):
        super().__init__(pairs)
        self.asked: list[Spent] = []

    def __iter__(self) -> Iterator[tuple[str, object]]:
        for i in range(len(self)):
            self.asked.append(Spent.now())
            yield self[i]
