"""Do records say what their own contents say? Summaries from unit values, names from digests, code from a commit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from saebench_lite.errors import SaebenchError
from saebench_lite.records.record import Record, paths_of
from saebench_lite.records.schema1 import schema1_path
from saebench_lite.records.summary import arrays, errors_of, metric_score
from saebench_lite.records.types import MetricScore

TOLERANCE = {"value": 1e-8, "low": 1e-7, "high": 1e-7, "n": 0.0, "per_seed": 1e-8}
"Greatest difference of a recomputed figure, relative to the largest unit value: records hold 9 digits, so figure and"
" units may each be off by 5e-9, and Student's quantile (12.7 for two units) stretches that in an interval."


def result_folders(folder: Path) -> list[Path]:
    """Results folders at or below `folder`; SaebenchError if there is none."""
    roots = sorted(p.parent for p in folder.rglob("records") if p.is_dir() and paths_of(p.parent))
    if not roots:
        raise SaebenchError(f"{folder} holds no records; give the folder that --out named, or one above it")
    return roots


def verify(root: Path, strict_code: bool = False) -> tuple[int, list[str]]:
    """(number of record files, one line a fault) of a results folder.

    Faults: a file that is no record; one whose name or folder is not that of its contents; a figure that is not the
    one of its unit values; a record made from an edited checkout, or with `strict_code` from no known commit.
    """
    paths = paths_of(root)
    return len(paths), [f"{path}: {fault}" for path in paths for fault in faults(path, root, strict_code)]


def faults(path: Path, root: Path, strict_code: bool) -> list[str]:
    """The faults of one file under a results folder."""
    try:
        record = Record.load(path)
    except SaebenchError as error:
        return [str(error).removeprefix(f"{path} ")]
    out = []
    if path not in (record.path(root), schema1_path(record.key, root)):
        out.append(f"lies in the wrong folder; it belongs to {record.path(root).parent}")
    for metric in record.scores:
        out += [f"{metric}: {fault}" for fault in _metric_faults(record, metric)]
    code = None if record.provenance is None else record.provenance.code
    if code is not None and code.endswith("+"):
        out.append(f"was made from an edited checkout of {code[:-1]}; commit and run again")
    if code is None and strict_code:
        out.append("names no commit of the code that made it")
    return out


def upgrade(root: Path) -> int:
    """Rewrites records of schema 1 as schema 2 under their new names, scores and provenance untouched.

    Returns how many; files that are no records stay as they are.
    """
    count = 0
    for path in paths_of(root):
        try:
            record = Record.load(path)
        except SaebenchError:
            continue
        if path.stem != record.digest:
            if not record.path(root).exists():
                record.save(root)
            path.unlink(missing_ok=True)
            count += 1
    return count


def _metric_faults(record: Record, metric: str) -> list[str]:
    """Differences between a stored score and the one of the stored unit values."""
    if metric not in record.per_unit:
        return ["has a score and no unit values"]
    stored, units = record.scores[metric], record.per_unit[metric]
    values, weights = arrays(units)
    try:
        score = metric_score(values, weights, record.task.metrics[metric], errors_of(units))
    except SaebenchError as error:
        return [str(error)]
    if score is None:
        return ["has a score, and no unit has a value"]
    scale = float(np.nanmax(np.abs(values)))
    return [
        f"{name} is {ours} in the record and {theirs} by its unit values"
        for name, ours, theirs in zip(TOLERANCE, _figures(stored), _figures(score), strict=True)
        if len(ours) != len(theirs)
        or not all(_near(a, b, TOLERANCE[name], scale) for a, b in zip(ours, theirs, strict=True))
    ]


def _figures(score: MetricScore) -> list[Sequence[float | None]]:
    """Each field of a score as a list, in the order of the fields."""
    return [v if isinstance(v, list) else [v] for v in asdict(score).values()]


def _near(a: float | None, b: float | None, tolerance: float, scale: float) -> bool:
    return a == b if a is None or b is None else math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance * scale)
