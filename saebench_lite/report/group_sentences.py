"""Sentences on groups of SAEs: all of them against controls, the factors of a design, the best two."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from saebench_lite.records.record import Record
from saebench_lite.records.training import training_facts
from saebench_lite.report.numbers import INDEPENDENT, figure, interval_text, p_text
from saebench_lite.report.ranking import Field, field, over_texts
from saebench_lite.stats.bootstrap_t import FAMILY_LEVEL
from saebench_lite.stats.contrasts import Contrast, lead_p, level_contrasts, units_needed
from saebench_lite.stats.intervals import FEW, SHOWN_FROM, interval, too_alike
from saebench_lite.stats.ranks import pseudo_means

MOST = 10_000
"Units beyond which their number is not told."


def sentences(records: Sequence[Record], metric: str) -> list[str]:
    """What can be said of comparable records, one a subject; empty with fewer than two SAEs.

    Below `SHOWN_FROM` units that there are no tests. Below `FEW` that there are no ranks; the SAEs as a group
    against the best random control and against each control of which a part was trained; the factors of a design
    (architecture and L0, where the SAEs' metadata tell both); how many units would decide between the best two SAEs.
    With one unit whose values have standard errors: the best SAE (one is enough) against the best random control and
    the best baseline.
    """
    f = field(records, metric)
    if f is None:
        return []
    units, by = f.x.shape[1], f"{f.records[0].task.name} {metric}"
    if f.errors is not None:
        return _one_unit(f, by)
    if len(f.saes) < 2 or units < 2:
        return []
    if units < SHOWN_FROM:
        return [f"No tests and no ranks by {by}: {units} units are too few (tests from {SHOWN_FROM}, ranks from {FEW})"]
    out = [f"No ranks by {by}: {units} units are too few to order SAEs (from {FEW})"] if units < FEW else []
    u = pseudo_means(f.x, f.w)
    return [*out, *_against_controls(f, u), *_designed(f, u), *_top_pair(f, u)]


def _against_controls(f: Field, u: np.ndarray) -> list[str]:
    """The SAEs as a group against the best random control, then against each control of which a part was trained.

    Of the latter the hardest comes first; a run trains them on texts of its own, which the SAEs may never have seen.
    """
    if not f.controls:
        return []
    best, out = f.best(f.random_controls()), []
    trained = [i for i in f.controls if i != best and half_trained(f.records[i])]
    trained.sort(key=lambda i: -u[:, i].mean())
    for control in (best, *trained):
        d = u[:, f.saes].mean(1) - u[:, control]
        which = (
            f"the best random control ({f.records[control].subject.name})"
            if control == best
            else (f"{f.records[control].subject.name}, of which a part was trained on these texts")
        )
        out.append(f"The {len(f.saes)} SAEs as a group against {which}: {_difference(d)}")
    return out


def half_trained(record: Record) -> bool:
    """Whether a control's metadata tell of a recipe that left a part of it at random."""
    return training_facts(record.subject.meta).get("frozen") not in (None, "none")


def _one_unit(f: Field, by: str) -> list[str]:
    """The best SAE against the best random control and the best supervised baseline over the texts of the one unit.

    Args:
        f: comparable records.
        by: names the task and the metric.
    """
    if not f.saes:
        return []
    best, out = f.best(f.saes), []
    baselines = [i for i, r in enumerate(f.records) if r.subject.kind == "baseline"]
    for word, rows in (("random control", f.random_controls()), ("baseline", baselines)):
        other = f.best(rows) if rows else best
        tested = over_texts(f, best, other) if other != best else None
        if tested is None:
            continue
        difference = float(f.x[best, 0] - f.x[other, 0])
        sides, p = "one-sided", tested.p_above
        if word == "baseline":  # asked as the mark in the table is
            sides, p = ("one-sided", 1 - tested.p_above) if difference < 0 else ("two-sided", tested.p)
        p = min(1.0, len(f.saes) * p)
        sides += f", for the best of {len(f.saes)} SAEs" if len(f.saes) > 1 else ""
        names = f"{f.records[best].subject.name} against the best {word} ({f.records[other].subject.name}) by {by}"
        plus = "+" if difference >= 0 else ""
        out.append(f"{names}: {plus}{interval_text(difference, tested.low, tested.high)}, p {p_text(p)} ({sides})")
    return [*out, f"One unit: tests are over its test texts. {INDEPENDENT}"] if out else []


def _difference(d: np.ndarray) -> str:
    """`+0.043 [0.010, 0.080], one-sided p 0.004` of pseudo-values d [units]."""
    low, high = (None, None) if too_alike(d) else interval(d, np.ones(len(d)), symmetric=True)
    sign = "+" if d.mean() >= 0 else ""
    return f"{sign}{interval_text(float(d.mean()), low, high)}, one-sided p {p_text(lead_p(d))}"


def design(record: Record) -> tuple[str, str] | None:
    """(architecture, L0) of an SAE as its metadata tell them, L0 as it was aimed at where that is told; else None."""
    facts = training_facts(record.subject.meta)
    l0 = next((facts[k] for k in ("l0", "k", "published_l0") if isinstance(facts.get(k), int | float)), None)
    architecture = facts.get("architecture")
    return None if l0 is None or not isinstance(architecture, str) else (architecture, f"{l0:g}")


def _designed(f: Field, u: np.ndarray) -> list[str]:
    """A sentence for L0 over architectures and one for architectures over L0."""
    known = [(i, d) for i in f.saes if (d := design(f.records[i])) is not None]
    if not known:
        return []
    rows, cells = [i for i, _ in known], [d for _, d in known]
    architectures, l0s = [a for a, _ in cells], [b for _, b in cells]
    return [
        *_factor("L0", "architectures", level_contrasts(u[:, rows], l0s, architectures), set(architectures)),
        *_factor("Architecture", "L0", level_contrasts(u[:, rows], architectures, l0s), set(l0s)),
    ]


def _factor(name: str, over: str, contrasts: Sequence[Contrast], levels: set[str]) -> list[str]:
    """The certain contrasts of a factor, in one sentence; empty where there is nothing to average over.

    Args:
        name: of the factor.
        over: what the other factor's levels are.
        contrasts: all pairs of levels.
        levels: of the other factor.
    """
    if not contrasts or len(levels) < 2:
        return []
    apart = sorted((c for c in contrasts if c.certain), key=lambda c: c.p)
    head = f"{name}, averaged over {over}, p adjusted over its pairs: "
    if not apart:
        names = list(dict.fromkeys(x for c in contrasts for x in (c.first, c.second)))
        return [f"{name}, averaged over {over}: no two of {', '.join(names)} can be told apart"]
    told = [f"{c.first} better than {c.second} by {figure(c.difference)} (p {p_text(c.p)})" for c in apart]
    return [head + ", ".join(told)]


def _top_pair(f: Field, u: np.ndarray) -> list[str]:
    """How many more units would decide between the best two SAEs; empty where these units do or nothing differs."""
    mean = f.mean
    ((first, second),) = list(pairwise(sorted(f.saes, key=lambda i: -mean[i])))[:1]
    more = more_units(u[:, first] - u[:, second], FAMILY_LEVEL)
    if more is None:
        return []
    pair = " and ".join(f.records[i].subject.name for i in (first, second))
    return [f"Best two ({pair}): undecided; {more} units would decide, were the true difference the observed one"]


def more_units(d: np.ndarray, level: float = 0.05) -> str | None:
    """`about 12 more` units than those of d [units >= 2] would show that its mean is not 0; None where these do.

    None as well where the mean is 0. See `units_needed`, also for the level.
    """
    needed = units_needed(d, level)
    if needed is None or needed <= len(d):
        return None
    return f"more than {MOST:,}" if needed - len(d) > MOST else f"about {needed - len(d):,} more"
