"""Losses that a check allows: one for all metrics, or one a metric, each in the metric's unit."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import NamedTuple

from saebench_lite.errors import SaebenchError
from saebench_lite.report.counterparts import Counterparts
from saebench_lite.stats.intervals import BOOTSTRAP_FROM

Allow = float | Mapping[str, float] | None
"A margin for all metrics, or {metric or task.metric: margin}, `ALL` for the others; None or empty: no margin."
ALL = "*"
Name = tuple[str, str]
"Task and metric."


class Asked(NamedTuple):
    """A margin of one metric of one SAE, and what it is held against."""

    name: Name
    margin: float
    counts: float
    "The change that counts: the reliable difference, or --min-effect."
    certain: bool
    "Whether a test can be significant."


def parsed(words: Sequence[str]) -> dict[str, float]:
    """Margins by name of `0.01` and `metric=0.01`, as a command line gives them.

    SaebenchError for a word that is neither, and for a name given twice.
    """
    out: dict[str, float] = {}
    for word in words:
        name, equals, number = word.strip().rpartition("=")
        name = name.strip() if equals else ALL
        try:
            margin = float(number)
        except ValueError:
            margin = None
        if margin is None or not name:
            raise SaebenchError(f"--allow {word!r} is neither a number nor metric=number, such as ce_delta=0.02")
        if name in out:
            raise SaebenchError(f"--allow is given twice for {'all metrics' if name == ALL else name}; give it once")
        out[name] = margin
    return out


def checked(allow: Allow) -> dict[str, float]:
    """Margins by name, `ALL` among them where there is one for all; SaebenchError for one that is no finite number of
    at least 0.
    """
    if allow is None:
        return {}
    known: dict[str, float] = dict(allow) if isinstance(allow, Mapping) else {ALL: allow}
    for name, value in known.items():
        if not isinstance(value, Real) or not 0 <= value < math.inf:
            told = "" if name == ALL else f" of {name}"
            raise SaebenchError(f"--allow{told} is {value}; give a number that is not negative, in the metric's unit")
    return known


def margins(
    allow: Mapping[str, float], judged: Sequence[tuple[Counterparts, str]], pairs: Sequence[Counterparts]
) -> dict[Name, float | None]:
    """The margin of each metric that is judged, None without one.

    SaebenchError for a name of no metric, of several, or of one that nobody asked to judge, and for a metric named
    twice. A metric shown unasked that could not be judged is a problem that the check tells itself.

    Args:
        allow: margins by name, checked.
        judged: metrics that are compared, each with its records.
        pairs: new and earlier records of the check.
    """
    out: dict[Name, float | None] = {(p.earlier[0].task.name, metric): allow.get(ALL) for p, metric in judged}
    tasks = [r.task for pair in pairs for r in pair.earlier]
    declared = {(task.name, metric): card for task in tasks for metric, card in task.metrics.items()}
    shown = {(task.name, metric) for task in tasks for metric in task.shown}
    by: dict[Name, str] = {}
    for name in (name for name in allow if name != ALL):
        fitting = [n for n in declared if name in (n[1], ".".join(n))]
        found = [n for n in fitting if n in out] or fitting
        if not found:
            raise SaebenchError(f"--allow names {name!r}, and no baseline scores it; {_near(name, list(out))}")
        if len(found) > 1:
            told = " or ".join(sorted(map(".".join, found)))
            raise SaebenchError(f"--allow names {name!r}, which may be {told}; name one of them")
        (one,) = found
        if one in by:
            raise SaebenchError(f"--allow names one metric twice, as {by[one]} and as {name}; name it once")
        if one not in out and declared[one].better == "neither":
            raise SaebenchError(
                f"--allow names {name!r}, which has no better direction and is not judged; leave it out"
            )
        if one not in out and one not in shown:
            raise SaebenchError(
                f"--allow names {name!r}, which is not shown unasked and is not judged; give --metrics all too"
            )
        by[one] = name
        out[one] = allow[name]
    return out


def too_small(asked: Sequence[Asked]) -> list[str]:
    """A sentence on the margins that no loss can pass, with the least that one can, and one on metrics without a test.

    Ok is a loss that is smaller than the margin by more than the change that counts. None without such margins.
    """
    least: dict[str, float] = {}
    for a in asked:
        if a.certain and 0 < a.counts >= a.margin:
            name = ".".join(a.name)
            least[name] = max(least.get(name, 0.0), _above(a.counts))
    out = []
    if least:
        told = ", ".join(f"{name}={margin:g}" for name, margin in least.items())
        out.append(
            "--allow can pass no loss where it is not above the change that counts (the minimum reliable difference, or"
            f" --min-effect); give {told} or more"
        )
    if untested := list(dict.fromkeys(".".join(a.name) for a in asked if not a.certain)):
        out.append(
            f"--allow can pass no loss of {', '.join(untested)}: fewer than {BOOTSTRAP_FROM} units, or no known noise;"
            " score more units"
        )
    return out


def _above(x: float) -> float:
    """The least number of three digits that is greater than x > 0."""
    step = 10.0 ** (math.floor(math.log10(x)) - 2)
    steps = math.floor(x / step)
    return next(y for n in (1, 2) if (y := float(f"{(steps + n) * step:.3g}")) > x)


def _near(name: str, judged: Sequence[Name]) -> str:
    """Names like it among those that are judged."""
    spelt = list(dict.fromkeys([metric for _, metric in judged] + [".".join(n) for n in judged]))
    close = difflib.get_close_matches(name, spelt, n=3, cutoff=0.4) or spelt[:3]
    return f"did you mean {' or '.join(close)}?" if close else "nothing is compared"
