"""The dimensions of a leaderboard: columns that claim to measure the same, with what a reader may take from them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from saebench_lite.records.metric import Construct
from saebench_lite.records.record import Record
from saebench_lite.report.numbers import MISSING, figure
from saebench_lite.report.table import Column, Table

HEADINGS: dict[Construct, str] = {
    "recovery": "Recovery: are known concepts found again in few latents? Scores move with L0 and width; compare SAEs"
    " at equal ones.",
    "fidelity": "Fidelity: how much of the activation, or of the model's loss, comes back at its L0. No evidence that"
    " single latents stand for features: a basis that is no dictionary of features, such as neurons, gives all back.",
    "hierarchy": "Hierarchy: do special features take the general feature's latent over? To be read where f1_k1, the F1"
    " of the best single latent for the general feature, is high; where no latent knows it there is nothing to absorb.",
    "sparsity": "Sparsity: how evenly latents are used.",
    "pathology": "Pathologies: shares of latents with shrunken codes, of doubles, of detectors of the input's norm.",
    "geometry": "Geometry: how the directions of latents lie to each other; it describes, and no direction is better.",
    "causal_effect": "Causal effect: what an intervention on latents does.",
    "cost": "Cost.",
}


class Section(NamedTuple):
    """Columns of one construct."""

    construct: Construct | None
    columns: list[Column]

    @property
    def heading(self) -> str:
        """What the columns say, in a sentence or two; empty for metrics that declare no construct."""
        return "" if self.construct is None else HEADINGS[self.construct]


def sections(table: Table) -> list[Section]:
    """The table's columns by construct, those that declare none last; the task that ranks comes first in its section.

    L0 has no section, it stands beside all. What a task of hierarchy scores besides stands beside its hierarchy.
    """
    shown = [c for c in table.columns if not _is_l0(c)]
    ranking = table.ranking
    if ranking is not None:
        shown.sort(key=lambda c: c.task != ranking.task)
    of_hierarchy = {c.task for c in shown if c.construct == "hierarchy"}
    place = {c: "hierarchy" if c.task in of_hierarchy else c.construct for c in shown}
    order: list[Construct | None] = [*HEADINGS, None]
    by_construct = [Section(construct, [c for c in shown if place[c] == construct]) for construct in order]
    return [s for s in by_construct if s.columns]


def _is_l0(column: Column) -> bool:
    return column.construct == "sparsity" and column.metric == "l0"


def l0_of(records: Iterable[Record]) -> dict[str, float]:
    """L0 by subject: that of a task where one measured it, else that on the sample its controls were made for."""
    sampled: dict[str, float] = {}
    measured: dict[str, float] = {}
    for record in records:
        name, meta = record.subject.name, record.subject.meta
        if "l0" in record.scores:
            measured[name] = record.scores["l0"].value
        if isinstance(l0 := meta.get("sample_l0", meta.get("matched_l0")), float):
            sampled[name] = l0
    return sampled | measured


def sizes(table: Table) -> dict[str, tuple[int | None, float | None]]:
    """(d_sae, L0) of each subject, None where unknown; empty where no subject has either."""
    l0s = l0_of(table.cells.values())
    widths: dict[str, int] = {}
    for (name, _), record in table.cells.items():
        if isinstance(width := record.subject.meta.get("d_sae"), int):
            widths[name] = width
    if not l0s and not widths:
        return {}
    return {name: (widths.get(name), l0s.get(name)) for name, _ in table.rows}


def size_text(size: tuple[int | None, float | None]) -> tuple[str, str]:
    """(d_sae, L0) as the cells of a table."""
    width, l0 = size
    return MISSING if width is None else str(width), MISSING if l0 is None else figure(l0)
