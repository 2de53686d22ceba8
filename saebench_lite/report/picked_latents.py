"""One subject on one task, label by label: the latent picked, its score, its control's and the baselines'."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from saebench_lite.errors import SaebenchError
from saebench_lite.records.arrays import protocol_key, unit_errors, unit_scores
from saebench_lite.records.metric import ARROWS, higher_is_better
from saebench_lite.records.record import Record
from saebench_lite.records.selection import age, newest_by_subject, site_and_data, site_titles, variant, variants
from saebench_lite.report.numbers import INDEPENDENT, MISSING, figure, interval_text
from saebench_lite.report.ranking import field, matched
from saebench_lite.report.sites import one_title
from saebench_lite.stats.intervals import SAME, collapse
from saebench_lite.stats.paired import holm
from saebench_lite.stats.single_unit import difference_over_texts, interval_over_texts

WIDTH = 100
"Characters of a line at most; baselines that do not fit are named below the table."
LONGEST = 24
"Characters of a label at most."


class Label(NamedTuple):
    """One label of a task."""

    name: str
    latents: list[int]
    "Picked under each seed, the most frequent first; empty where the record tells none."
    score: float
    share: float
    "Of the weight of all labels in the record's score."
    low: float | None
    "95 % interval over its test texts; None where the record holds no standard errors."
    high: float | None
    control: float | None
    above_control: bool | None
    "One-sided test over texts at 5 %, Holm over the labels; None where it cannot be made."
    baselines: dict[str, float]


class Picked(NamedTuple):
    """One metric of one subject."""

    record: Record
    metric: str
    control: str | None
    labels: list[Label]
    heading: str
    "Site and data, and settings where the subject has several on the task."


class Shown(NamedTuple):
    """What a folder holds of one subject on one task."""

    picked: list[Picked]
    "One a site, data, settings and seeds."
    missing: list[str]
    "A sentence on each of these without scores of the metric."


def picked_latents(
    records: Sequence[Record], subject: str, task: str, metric: str | None = None, site: str | None = None
) -> Shown:
    """The records of a subject on a task, label by label, each beside comparable records of its site.

    Of a task's versions the newest at each site counts. SaebenchError for a subject, task, metric or site without
    scores; it names the nearest.

    Args:
        records: of any subjects and tasks.
        subject: its name.
        task: its name.
        metric: its name, or task.metric; None: the task's first headline metric that was scored.
        site: part of the title of the one site to show; None: all.
    """
    of_subject = [r for r in records if r.subject.name == _known("subject", subject, [r.subject.name for r in records])]
    of_task = [r for r in of_subject if r.task.name == _known("task", task, [r.task.name for r in of_subject])]
    titles = site_titles(of_task)
    if site is not None:
        title = one_title(list(titles.values()), site)
        of_task = [r for r in of_task if titles[site_and_data(r)] == title]
    if metric is not None:
        metric = _known("metric", metric.removeprefix(f"{task}."), [m for r in of_task for m in r.per_unit] or [metric])
    newest = {(site_and_data(r), variant(r)): r for r in sorted(of_task, key=lambda r: (r.task.version, age(r)))}
    versions = {site_and_data(r): r.task.version for r in sorted(of_task, key=lambda r: r.task.version)}
    told = variants(of_task)
    shown = Shown([], [])
    for (at, code), record in sorted(newest.items(), key=lambda item: (titles[item[0][0]], item[0][1])):
        if record.task.version < versions[at]:
            continue
        heading = " · ".join(filter(None, [titles[at], told.get((task, code))]))
        if record.status != "ok":
            shown.missing.append(f"{subject} is {record.status} on {task} at {heading}: {record.reason}")
        elif metric is not None and metric not in record.per_unit:
            shown.missing.append(f"{subject} has no scores of {metric} at {heading}")
        else:
            shown.picked.append(_picked(record, records, metric, heading))
    if not shown.picked:
        raise SaebenchError("; ".join(shown.missing))
    return shown


def _picked(record: Record, records: Sequence[Record], metric: str | None, heading: str) -> Picked:
    """A scored record, label by label.

    Args:
        record: of the subject.
        records: among them those beside it.
        metric: one that it scores; None: its first.
        heading: what tells it from other records of the subject.
    """
    if metric is None:
        metric = next((m for m in record.task.shown if m in record.per_unit), next(iter(record.per_unit)))
    group = list(newest_by_subject(r for r in records if protocol_key(r) == protocol_key(record)).values())
    f = field(group, metric)
    control = None
    if f is not None and f.controls:
        row = next(i for i, r in enumerate(f.records) if r is record)
        others = [i for i in f.random_controls() if i != row]
        control = f.records[matched(f, row, f.best(others))] if others else None
    baselines = sorted(
        (r for r in group if r.subject.kind == "baseline" and metric in r.scores and r is not record),
        key=lambda r: -r.scores[metric].value,
    )
    labels = _labels(record, metric, control, baselines)
    return Picked(record, metric, None if control is None else control.subject.name, labels, heading)


def latents_of(record: Record, metric: str, unit: str) -> list[int]:
    """Latents that a record names for a unit under each seed, for the pooling of the metric; most frequent first."""
    by_unit = record.diagnostics.get("detector" if metric.startswith("average_precision") else "best_latent")
    by_seed = by_unit.get(unit) if isinstance(by_unit, Mapping) else None
    latents = []
    for key, value in by_seed.items() if isinstance(by_seed, Mapping) and not metric.endswith("_named") else ():
        pooling = str(key).rpartition(" ")[0]
        latent = value.get("latent") if isinstance(value, Mapping) else value
        if isinstance(latent, int) and (not pooling or metric.endswith(f"_{pooling}")):
            latents.append(latent)
    return [latent for latent, times in Counter(latents).most_common() for _ in range(times)]


TextPooling = Literal["max", "mean", "last"]


def pooling_of(metric: str) -> TextPooling:
    """How a metric's latents are pooled over tokens: as its name ends, by the maximum where it does not tell."""
    pooling: TextPooling
    for pooling in ("mean", "last"):
        if metric.endswith(f"_{pooling}"):
            return pooling
    return "max"


def text_line(code: float, positive: bool, text: str) -> str:
    """A text with its code and label in a line of `WIDTH` characters at most."""
    head = f"  {code:9.3f}  {'yes' if positive else 'no ':3}  "
    return head + _cut(" ".join("".join(c if c.isprintable() else " " for c in text).split()), WIDTH - len(head))


def _labels(record: Record, metric: str, control: Record | None, baselines: Sequence[Record]) -> list[Label]:
    declared = record.task.metrics[metric]
    bounds = (declared.lower_bound, declared.upper_bound)
    own, errors = _values(record, metric), unit_errors(record, metric)
    weights = _weights(record, metric)
    total = sum(weights.values())
    theirs = {} if control is None else _values(control, metric)
    their_errors = {} if control is None else unit_errors(control, metric)
    others = {r.subject.name: _values(r, metric) for r in baselines}
    p = []
    for unit, value in own.items():
        both = higher_is_better(np.array([value, theirs.get(unit, np.nan)]), declared.better, value)
        known = both is not None and unit in theirs and unit in errors and unit in their_errors
        p.append(
            difference_over_texts(float(both[0] - both[1]), errors[unit], their_errors[unit]).p_above
            if known and both is not None
            else np.nan
        )
    out = []
    for (unit, value), q in zip(own.items(), holm(np.array(p)), strict=True):
        low, high = interval_over_texts(value, errors[unit], bounds) if unit in errors else (None, None)
        rest = {name: values[unit] for name, values in others.items() if unit in values}
        above = None if q != q else bool(q <= 0.05)
        picked, share = latents_of(record, metric, unit), weights[unit] / total
        out.append(Label(unit, picked, value, share, low, high, theirs.get(unit), above, rest))
    return sorted(out, key=lambda label: _natural(label.name))


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts `block 2` before `block 10`."""
    return [(int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", name)]


def _values(record: Record, metric: str) -> dict[str, float]:
    """Mean over seeds of each unit that has a value."""
    named = unit_scores(record, metric)
    if named is None:
        return {}
    x, _ = collapse(*named.scores)
    return {unit: float(v) for unit, v in zip(named.units, x, strict=True) if np.isfinite(v)}


def _weights(record: Record, metric: str) -> dict[str, float]:
    """Summed weight of each unit; 0 without a value."""
    named = unit_scores(record, metric)
    return {} if named is None else dict(zip(named.units, collapse(*named.scores)[1].tolist(), strict=True))


def _known(what: str, name: str, names: Sequence[str]) -> str:
    """`name` if it is one of `names`; else a SaebenchError with the nearest ones."""
    there = sorted(set(names))
    if name in there:
        return name
    close = difflib.get_close_matches(name, there, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are {', '.join(there) or 'none'}"
    raise SaebenchError(f"there are no scores of a {what} called {name!r} here; {hint}")


def to_text(picked: Picked) -> str:
    """A plain table of at most `WIDTH` characters with its notes."""
    from tabulate import tabulate

    names = list(dict.fromkeys(name for label in picked.labels for name in label.baselines))
    marked = any(label.above_control is not None for label in picked.labels)
    told, shares = any(label.latents for label in picked.labels), [label.share for label in picked.labels]
    weighted = bool(shares) and not np.allclose(shares, shares[0], rtol=SAME)

    def table(baselines: Sequence[str]) -> str:
        heads = ["label", *(["latent"] if told else []), "score", *(["weight"] if weighted else [])]
        heads += [*(["control"] if picked.control else []), *baselines]
        body = []
        for label in picked.labels:
            cells = [_cut(label.name, LONGEST), *([_latents(label.latents)] if told else [])]
            cells.append(interval_text(label.score, label.low, label.high))
            cells += [f"{label.share:.1%}"] if weighted else []
            if picked.control:
                mark = " +" if label.above_control else "  " if marked else ""
                cells.append((MISSING if label.control is None else figure(label.control)) + mark)
            cells += [figure(label.baselines[b]) if b in label.baselines else MISSING for b in baselines]
            body.append(cells)
        return tabulate(body, heads, tablefmt="plain", disable_numparse=True)

    fitting: list[str] = []
    for name in names:
        if max(map(len, table([*fitting, name]).splitlines())) <= WIDTH:
            fitting.append(name)
    record = picked.record
    declared = record.task.metrics[picked.metric]
    notes = [f"{picked.metric} {ARROWS[declared.better]}: {declared.meaning}, mean over seeds"]
    if any(label.low is not None for label in picked.labels):
        notes.append("[95 % interval over the label's test texts]")
    if picked.control:
        notes.append(f"control: {picked.control}")
    if marked:
        notes.append(f"+: above the control, one-sided over texts, Holm over labels. {INDEPENDENT}")
    if told:
        notes.append("latent: picked on training texts; of a k-sparse probe the first; several where seeds disagree")
    if weighted:
        notes.append(f"weight: share in the score, {figure(record.scores[picked.metric].value)}")
    if left := [n for n in names if n not in fitting]:
        notes.append(f"not shown for width: {', '.join(left)}")
    return "\n".join([f"{record.subject.name} · {record.task.name} · {picked.heading}", "", table(fitting), "", *notes])


def _latents(latents: Sequence[int]) -> str:
    """`12` where all seeds agree, else `12 (2), 7 (1)`; at most three."""
    counts = Counter(latents).most_common(3)
    if len(counts) < 2:
        return str(counts[0][0]) if counts else MISSING
    return ", ".join(f"{latent} ({times})" for latent, times in counts)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
