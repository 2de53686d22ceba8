"""Every metric of a default run on an oracle with planted faults: measured, judged, written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch

from saebench_lite import registry
from saebench_lite.api.card import Card
from saebench_lite.audit import dose_hierarchy, dose_page
from saebench_lite.audit.constructs import Row, UnitTable, judge
from saebench_lite.audit.dose_bench import CONCEPTS, TEXTS, Measured, bench_of
from saebench_lite.audit.dose_edits import DOSES, GRID
from saebench_lite.audit.dose_truths import QUANTITIES
from saebench_lite.files import write_text
from saebench_lite.progress import NoProgress, Progress
from saebench_lite.records.metric import Metric


def plan(faults: Sequence[str] = tuple(DOSES), grid: Sequence[float] = GRID) -> list[tuple[str, float]]:
    """(fault, dose) of every dictionary: the base once, then each fault at each dose above 0."""
    return [(faults[0], 0.0), *((fault, dose) for fault in faults for dose in grid if dose)]


def series(todo: Sequence[tuple[str, float]]) -> dict[str, list[int]]:
    """Places in a plan along each fault, the base first."""
    return {f: [0, *(i for i, (of, dose) in enumerate(todo) if dose and of == f)] for f in dict(todo)}


def metrics_of(names: Sequence[str]) -> Iterator[tuple[Card, Metric]]:
    """(card, metric) of all tasks; headlines first within a task, then what stands beside them."""
    for name in names:
        card = registry.get("tasks", name).card
        for metric in sorted(card.metrics, key=lambda m: (m.name not in card.headline, m.name not in card.beside)):
            yield card, metric


def judged(measured: Sequence[Measured], todo: Sequence[tuple[str, float]], names: Sequence[str]) -> list[Row]:
    """A row for every metric that declares a construct whose quantity is known.

    Args:
        measured: dictionaries in the order of the plan.
        todo: the plan.
        names: tasks.
    """
    rows = []
    for card, metric in metrics_of(names):
        task = card.name
        truths = {
            q: about.better * np.array([m.quantities[q] for m in measured])
            for q, about in QUANTITIES.items()
            if about.construct == metric.construct
        }
        if not truths or not any((task, metric.name) in m.values for m in measured):
            continue
        table = _table(measured, (task, metric.name))
        with np.errstate(invalid="ignore"):
            figure = (table.values * table.weights).sum(1) / table.weights.sum(1)
        rows.append(
            Row(
                task=task,
                metric=metric.name,
                construct=str(metric.construct),
                headline=metric.name in card.headline,
                shown=metric.name in card.shown,
                figures=figure.tolist(),
                judgement=judge(table, metric.better, series(todo), truths),
            )
        )
    return rows


def _table(measured: Sequence[Measured], key: tuple[str, str]) -> UnitTable:
    """A metric's units over all dictionaries, those that each has; NaN in a dictionary without the metric."""
    have = [
        dict(zip(m.values[key][0], np.stack(m.values[key][1:], 1), strict=True)) for m in measured if key in m.values
    ]
    known = [{u for u, (x, _) in of.items() if np.isfinite(x)} for of in have]
    units = [u for u in have[0] if all(u in k for k in known)]
    missing = np.full((len(units), 2), [np.nan, 0.0])
    cells = iter(have)
    stacked = []
    for m in measured:
        of = next(cells) if key in m.values else None
        stacked.append(missing if of is None else np.array([of[u] for u in units]).reshape(-1, 2))
    both = np.stack(stacked)
    return UnitTable(both[:, :, 0], both[:, :, 1])


def run(
    world: str,
    out: Path,
    *,
    texts: int = TEXTS,
    limit: int = CONCEPTS,
    jobs: int = 1,
    plugins: Sequence[str] = (),
    progress: Progress | None = None,
) -> list[Row]:
    """Rows of all metrics on a world; writes doses.json and doses.md.

    Args:
        world: its name.
        out: folder of the audit.
        texts: of the world that are read.
        limit: concepts at most.
        jobs: processes, one thread each.
        plugins: importable modules whose default tasks are judged too.
        progress: receives how many dictionaries are scored.
    """
    progress = NoProgress() if progress is None else progress
    todo = plan()
    shares = [todo[i::jobs] for i in range(jobs)]
    work = [(world, texts, limit, tuple(plugins), share) for share in shares]
    if jobs > 1:
        with ProcessPoolExecutor(jobs - 1, mp_context=get_context("spawn")) as pool:
            others = [pool.submit(_measure_all, w) for w in work[1:]]
            parts = [_measure_all(work[0], progress), *(o.result() for o in others)]
    else:
        parts = [_measure_all(work[0], progress)]
    measured = [parts[i % jobs][i // jobs] for i in range(len(todo))]
    names = list(dict.fromkeys(task for m in measured for task, _ in m.values))
    rows = judged(measured, todo, names)
    children = dose_hierarchy.tables(world, texts)
    truths = {q: np.array([m.quantities[q] for m in measured]) for q in QUANTITIES}
    command = f"saebench-lite audit --doses --world {world}" + (f" --limit {limit}" if limit != CONCEPTS else "")
    command += "".join(f" --plugin {module}" for module in plugins)
    content = {
        "command": command,
        "dictionaries": [m.name for m in measured],
        "quantities": {q: [_number(v) for v in of] for q, of in truths.items()},
        "planted_absorption": _plain([asdict(row) for row in children]),
        "metrics": [_plain(asdict(row)) for row in rows],
    }
    write_text(out / "doses.json", json.dumps(content, indent=1, allow_nan=False) + "\n")
    page = dose_page.markdown(command, rows, truths, series(todo), [dose_hierarchy.section(children)])
    write_text(out / "doses.md", page + "\n")
    return rows


def _number(value: float) -> float | None:
    """Six significant digits; None for NaN."""
    return None if value != value else float(f"{value:.6g}")


def _plain(value: object) -> object:
    """A value in JSON types, its floats as `_number` gives them."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return _number(value) if isinstance(value, float) else value


def _measure_all(
    work: tuple[str, int, int, tuple[str, ...], list[tuple[str, float]]], progress: Progress | None = None
) -> list[Measured]:
    """A share of the plan, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    world, texts, limit, plugins, share = work
    for module in plugins:
        registry.add_plugin(module)
    bench, measured = bench_of(world, texts=texts, limit=limit), []
    for fault, dose in share:
        measured.append(bench.measure(fault, dose))
        if progress is not None:
            progress.update("dictionaries with planted faults", len(measured), len(share))
    torch.set_num_threads(threads)
    return measured
