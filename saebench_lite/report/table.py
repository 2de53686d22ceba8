"""One table of a leaderboard: its columns, rows and cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from saebench_lite.records.metric import ARROWS, Better, Construct
from saebench_lite.records.record import Record
from saebench_lite.records.types import Kind
from saebench_lite.report.random_controls import not_their_own
from saebench_lite.report.ranking import MetricRanking
from saebench_lite.report.recipes import RecipeScore


class Column(NamedTuple):
    """One metric of one task under one version and setting."""

    task: str
    version: int
    variant: str
    "Tells settings and seeds of one task apart; empty where there is one variant only."
    metric: str
    better: Better
    construct: Construct | None = None
    "What the metric claims to measure."

    @property
    def title(self) -> str:
        """Header of the column."""
        suffix = f" [{self.variant}]" if self.variant else ""
        return f"{self.task}{suffix} {self.metric} {ARROWS[self.better]}".strip()

    @property
    def names(self) -> tuple[str, str]:
        """What the column may be asked for by: its metric, and `task.metric`."""
        return self.metric, f"{self.task}.{self.metric}"


class Table(NamedTuple):
    """All subjects of one site and one data set."""

    title: str
    columns: list[Column]
    verdicts: dict[Column, str]
    "The audit's verdict on each of `columns` with a direction."
    rows: list[tuple[str, Kind]]
    "(subject, kind), best first."
    cells: dict[tuple[str, Column], Record]
    remarks: list[str]
    "Sentences about records that are not shown, or that come from another site."
    ranking: Column | None
    "The column that orders the rows; None where no column has a direction."
    rankings: dict[Column, MetricRanking]
    "Ranks, calibrated scores and noise by column."
    sentences: list[str]
    "In place of ranks, where the ranking column has too few units."
    dominated: dict[str, list[str]]
    "SAEs that dominate each SAE in L0 and the fidelity columns; empty for one on the front."
    recipes: list[RecipeScore]
    "On the ranking column; empty where no recipe was trained under two seeds."

    def only(self, names: Sequence[str]) -> Table:
        """The table with the columns of those `names` alone; its order and ranking stay."""
        return self._replace(columns=[c for c in self.columns if {*c.names} & {*names}])

    def other_controls(self, column: Column) -> set[str]:
        """Names of controls that SAEs are held against in a column though they are not of their size."""
        subjects = [r.subject for (_, c), r in self.cells.items() if c == column]
        return not_their_own(subjects, {name: place.control for name, place in self.rankings[column].of.items()})
