"""Records and cells that tests of leaderboards share."""

import dataclasses

import numpy as np

from saebench_lite.records.record import Record
from saebench_lite.records.types import Kind, MetricScore
from saebench_lite.records.verdicts import shipped_verdicts
from saebench_lite.report.leaderboard import tables
from saebench_lite.report.table import Table
from tests.helpers.record_factory import made_up


def record(
    subject: str = "a",
    task="sparse_probing",
    version=1,
    kind: Kind = "sae",
    metric="auroc",
    value: float | None = 0.8,
    **changes,
) -> Record:
    """A score with an interval of .05 to each side, without unit values."""
    values = {} if value is None else {metric: np.array([[value]])}
    made = made_up(subject, values, task=task, version=version, kind=kind, seeds=(42,), headline=[metric, "l0"])
    if value is not None:
        changes["scores"] = {
            metric: MetricScore(value=value, low=value - 0.05, high=value + 0.05, n=12, per_seed=[value])
        }
    return dataclasses.replace(made, per_unit={}, **changes)


def tables_of(records: list[Record]) -> list[Table]:
    return tables(records, shipped_verdicts())


def cells(text: str) -> list[list[str]]:
    return [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")]
