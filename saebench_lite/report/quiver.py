"""The quiver of arrows: does an SAE's probe add anything for someone who already has the baselines?

For each dataset, and each level of each regime, the method with the best validation AUROC is picked among the baselines
alone, and among the baselines plus the SAE's probes (one for each k); the two test AUROCs are compared. Pure functions
of records of `probing_regimes`; levels that allow no validation are left out.

Source: Kantamneni et al., arXiv:2502.16681, section 3 ("quiver of arrows"). Where we differ: methods that tie in
validation share their test AUROC instead of the first one winning, datasets carry an interval (see `ties`), and
controls go through the same test, so that one sees what a useless arrow wins by chance.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from saebench_lite.data.regimes import REGIMES
from saebench_lite.errors import SaebenchError
from saebench_lite.records.arrays import protocol_key
from saebench_lite.records.dataclass_json import from_json
from saebench_lite.records.record import Record
from saebench_lite.records.selection import newest_by_subject, site_and_data, site_titles
from saebench_lite.records.types import Kind
from saebench_lite.report.numbers import MARKS, interval_text
from saebench_lite.stats.intervals import SHOWN_FROM, Estimate
from saebench_lite.stats.win_rates import mean_gain, win_rate

TASK = "probing_regimes"


EVERY = "all SAEs"
"The row in which all SAEs join the baselines together."


SAME = 1e-9


Arrow = tuple[str, str]
"A subject and its k; baselines have one k."


Point = tuple[str, str, int, float]
"Regime, dataset, seed, level."


@dataclass(frozen=True)
class Row:
    """What one subject adds in one regime; units are datasets."""

    subject: str
    kind: Kind
    regime: str
    without: float
    "Mean test AUROC of the method picked among the baselines."
    joined: float
    "The same with the subject's probes among them."
    gain: Estimate
    "joined - without."
    wins: int
    "Datasets with a gain."
    ties: int
    losses: int
    win_rate: Estimate
    "Share of datasets won, ties half: 0.5 is no effect."
    chosen: float
    "Share of points at which a probe of the subject is picked."


@dataclass(frozen=True)
class Quiver:
    """All rows of one site and data set, and what the baselines alone were picked for."""

    title: str
    rows: list[Row]
    picks: dict[str, float]
    "Share of points at which each baseline is picked among the baselines."


def quivers(records: Sequence[Record]) -> list[Quiver]:
    """One quiver for each protocol (model, hook, data, settings, seeds) that has baselines and something to add.

    SaebenchError if there is none.
    """
    usable = [r for r in records if r.task.name == TASK and r.status == "ok"]
    groups: dict[str, list[Record]] = {}
    for record in usable:
        groups.setdefault(protocol_key(record), []).append(record)
    newest = [list(newest_by_subject(group).values()) for group in groups.values()]
    titles = site_titles(usable)
    result = [_quiver(group, titles[site_and_data(group[0])]) for group in newest if not _missing(group)]
    if not result:
        why = next((f"records of {_missing(group)} for" for group in newest), "records of")
        raise SaebenchError(f"there are no {why} {TASK}; run it with SAEs and baselines into one folder")
    return sorted(result, key=lambda q: q.title)


def _missing(records: Iterable[Record]) -> str:
    """What a quiver of these records lacks; empty if nothing."""
    kinds = [r.subject.kind for r in records]
    return "baselines" if "baseline" not in kinds else "SAEs" if set(kinds) == {"baseline"} else ""


def _quiver(records: list[Record], title: str) -> Quiver:
    baselines = [r for r in records if r.subject.kind == "baseline"]
    others = [r for r in records if r.subject.kind != "baseline"]
    alone = _join(arrows_of(r, first_only=True) for r in baselines)
    entries: list[tuple[str, Kind, Arrows]] = [(r.subject.name, r.subject.kind, arrows_of(r)) for r in others]
    if sum(r.subject.kind == "sae" for r in others) > 1:
        entries.insert(0, (EVERY, "sae", _join(arrows_of(r) for r in others if r.subject.kind == "sae")))
    rows = [row for name, kind, own in entries for row in compare(name, kind, alone, own)]
    picked: dict[str, float] = {}
    for point in _points(alone):
        best = pick(alone, point)
        for name, _ in best:
            picked[name] = picked.get(name, 0.0) + 1 / len(best)
    total = sum(picked.values())
    return Quiver(title, rows, {name: n / total for name, n in sorted(picked.items(), key=lambda i: -i[1])})


Arrows = dict[Arrow, dict[Point, tuple[float, float]]]
"(test, validation) AUROC of each arrow at each point."


def arrows_of(record: Record, first_only: bool = False) -> Arrows:
    """The arrows a record holds, at the points that have a validation AUROC.

    SaebenchError for a record without points, or with malformed ones.
    """
    out: Arrows = {}
    where = f"the record {record.digest} of {record.subject.name!r}: diagnostics"
    for regime, datasets in from_json(Points, record.diagnostics, where).points.items():
        for dataset, seeds in datasets.items():
            for seed, levels in seeds.items():
                for level, by_k in levels:
                    for k, (test, val) in list(by_k.items())[: 1 if first_only else None]:
                        if val is not None:
                            point = (regime, dataset, int(seed), float(level))
                            out.setdefault((record.subject.name, k), {})[point] = (test, val)
    return out


@dataclass(frozen=True)
class Points:
    """What the task leaves in a record's diagnostics."""

    points: dict[str, dict[str, dict[str, list[tuple[float, dict[str, tuple[float, float | None]]]]]]]
    "regime -> dataset -> seed -> (level, k -> (test, validation) AUROC)."


def _join(parts: Iterable[Arrows]) -> Arrows:
    return {arrow: points for part in parts for arrow, points in part.items()}


def _points(arrows: Arrows) -> list[Point]:
    """Points that all arrows have."""
    first, *rest = arrows.values()
    return [p for p in first if all(p in other for other in rest)]


def pick(arrows: Arrows, point: Point) -> list[Arrow]:
    """The arrows with the best validation AUROC at a point; several where they tie."""
    best = max(points[point][1] for points in arrows.values())
    return [arrow for arrow, points in arrows.items() if points[point][1] > best - SAME]


def compare(name: str, kind: Kind, alone: Arrows, own: Arrows) -> list[Row]:
    """One row a regime.

    Args:
        name: of the subject.
        kind: of the subject.
        alone: scores of the baselines' arrows.
        own: scores of the subject's arrows.
    """
    everything = {**alone, **own}
    regimes: dict[str, list[Point]] = {}
    for point in _points(everything):
        regimes.setdefault(point[0], []).append(point)
    rows = []
    for regime, points in sorted(regimes.items(), key=lambda item: REGIMES.index(item[0])):
        cells: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
        for point in points:
            before, after = pick(alone, point), pick(everything, point)
            figures = (
                _mean(alone[a][point][0] for a in before),
                _mean(everything[a][point][0] for a in after),
                _mean(float(a in own) for a in after),
            )
            cells.setdefault((point[1], point[2]), []).append(figures)
        rows.append(_row(name, kind, regime, {key: np.mean(got, axis=0) for key, got in cells.items()}))
    return rows


def _row(name: str, kind: Kind, regime: str, cells: dict[tuple[str, int], np.ndarray]) -> Row:
    """cells: (dataset, seed) -> test AUROC without, with, share of points picked."""
    units, seeds = list(dict.fromkeys(u for u, _ in cells)), sorted({s for _, s in cells})
    table = np.full((len(units), len(seeds), 3), np.nan)
    for (unit, seed), figures in cells.items():
        table[units.index(unit), seeds.index(seed)] = figures
    gain = table[:, :, 1] - table[:, :, 0]
    of_unit = np.nanmean(gain, axis=1)
    won = np.where(of_unit > SAME, 1.0, np.where(of_unit < -SAME, 0.0, 0.5))
    without, joined, chosen = np.nanmean(table, axis=1).mean(0)
    wins, ties, losses = (int((won == outcome).sum()) for outcome in (1.0, 0.5, 0.0))
    return Row(
        subject=name,
        kind=kind,
        regime=regime,
        without=float(without),
        joined=float(joined),
        gain=_shown(mean_gain(gain, SAME), len(units)),
        wins=wins,
        ties=ties,
        losses=losses,
        win_rate=_shown(win_rate(wins, ties, losses), len(units)),
        chosen=float(chosen),
    )


def _shown(found: Estimate, units: int) -> Estimate:
    """An estimate without its interval where units are too few for one."""
    return found if units >= SHOWN_FROM else found._replace(low=None, high=None)


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def to_text(shown: Sequence[Quiver], format: Literal["md", "json"] = "md") -> str:
    """Quivers as Markdown tables or as JSON. SaebenchError for another format."""
    if format == "json":
        return json.dumps([_plain(q) for q in shown], indent=1, allow_nan=False) + "\n"
    if format != "md":
        raise SaebenchError(f"format {format!r} is unknown; choose md or json")
    return "\n".join(_markdown(q) for q in shown)


def _plain(quiver: Quiver) -> dict[str, object]:
    rows = [
        dataclasses.asdict(row)
        | {name: getattr(row, name)._asdict() | {"per_seed": list(getattr(row, name).per_seed)} for name in ESTIMATES}
        for row in quiver.rows
    ]
    return {"title": quiver.title, "rows": rows, "picks": quiver.picks}


ESTIMATES = ("gain", "win_rate")


def _markdown(quiver: Quiver) -> str:
    from tabulate import tabulate

    headers = ["added to the baselines", "regime", "datasets", "without", "with", "gain", "won–tied–lost"]
    headers += ["win rate", "picked"]
    body = [
        [
            row.subject + MARKS[row.kind],
            row.regime,
            row.gain.n,
            f"{row.without:.3f}",
            f"{row.joined:.3f}",
            _interval(row.gain),
            f"{row.wins}–{row.ties}–{row.losses}",
            _interval(row.win_rate),
            f"{100 * row.chosen:.0f} %",
        ]
        for row in quiver.rows
    ]
    picks = ", ".join(f"{name} {100 * share:.0f} %" for name, share in quiver.picks.items())
    lines = [f"### {quiver.title}", "", tabulate(body, headers, tablefmt="github", disable_numparse=True), ""]
    lines += [
        "Test AUROC of the method with the best validation AUROC; gain and win rate [95 % interval] over datasets,"
    ]
    if any(row.gain.n < SHOWN_FROM for row in quiver.rows):
        lines += [f"none over fewer than {SHOWN_FROM},"]
    lines += ["ties half in the win rate (0.5: no effect). (c) control, (d) dictionary baseline.  "]
    lines += [f"Picked among the baselines alone: {picks}."]
    return "\n".join(lines) + "\n"


def _interval(gain: Estimate) -> str:
    return interval_text(gain.value, gain.low, gain.high)
