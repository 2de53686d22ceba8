"""Is the L0 of a family of SAEs too low, plausible or too high? Two diagnostics of mixed features held over L0.

In toy models c_dec and s_n^dec are least at the true L0 ("Sparse but Wrong", arXiv:2508.16560): below it latents mix
features that fire together, above it some latents lose their feature. Reads records of the task l0_diagnostics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from saebench_lite.errors import SaebenchError
from saebench_lite.records.arrays import protocol_key, stack
from saebench_lite.records.record import Record
from saebench_lite.records.selection import newest_by_subject, site_and_data, site_titles
from saebench_lite.report.group_sentences import design, half_trained
from saebench_lite.stats.intervals import resample_counts
from saebench_lite.stats.minimum import Side, dips_once, level_draws, may_be_least, sides
from saebench_lite.stats.reseed_noise import pooled_sd
from saebench_lite.stats.seeds import rng

TASK = "l0_diagnostics"
STATISTICS = ("c_dec", "s_n_dec")
DRAWS = 2000
LEAST_LEVELS = 3
"Below which no minimum can lie between two others."
VERDICTS: dict[Side, str] = {"below": "too low", "at": "plausible", "above": "too high", "unknown": "cannot say"}


class Curve(NamedTuple):
    """One statistic over the L0 of a family."""

    statistic: str
    values: np.ndarray
    "Mean over the SAEs of each level. [levels]"
    low: np.ndarray
    "Ends of 95 % intervals. [levels]"
    high: np.ndarray
    first: int
    "First level that may be the least."
    last: int
    "Last one."
    once: bool
    "Whether it may fall to one minimum and rise from it."
    sides: list[Side]
    seeds_df: int
    "Degrees of freedom of the noise of training; 0: it is not known."


@dataclass(frozen=True)
class Advice:
    """What the diagnostics say of one family."""

    site: str
    architecture: str
    d_sae: int
    l0: list[float]
    "Measured, rising; mean over the SAEs of a level."
    saes: list[list[str]]
    "Names at each level."
    curves: list[Curve]
    verdicts: list[str]
    "One a level."
    sentences: list[str]


class Family(NamedTuple):
    """Records of one architecture, width and site, by level of L0."""

    records: list[Record]
    level: list[int]


def advice(records: Sequence[Record]) -> list[Advice]:
    """One advice for each family of SAEs: equal architecture, width, site, data and settings.

    SaebenchError where no record of an SAE is of the task l0_diagnostics, or none tells architecture and width.
    """
    told = [r for r in records if r.task.name == TASK and r.status == "ok" and r.subject.kind == "sae"]
    if not told:
        raise SaebenchError(f"no record of an SAE is of the task {TASK}; run it with --tasks {TASK}")
    families = _families(told)
    if not families:
        raise SaebenchError(
            f"no SAE of the {len(told)} records of {TASK} tells its architecture and L0 in its metadata;"
            " without them there is no family to compare within"
        )
    return [_advise(family, records) for family in families]


def _families(records: Sequence[Record]) -> list[Family]:
    """Families in the order of their first record; SAEs with a frozen part are controls and left out."""
    groups: dict[tuple[object, ...], list[Record]] = {}
    for r in records:
        known = design(r)
        if known is not None and not half_trained(r):
            key = (protocol_key(r), known[0], r.subject.meta.get("d_sae"))
            groups.setdefault(key, []).append(r)
    out = []
    for group in groups.values():
        members = list(newest_by_subject(group).values())
        levels: dict[str, list[float]] = {}
        for r in members:
            levels.setdefault((design(r) or ("", ""))[1], []).append(r.scores["l0"].value)
        order = sorted(levels, key=lambda name: np.mean(levels[name]))
        members.sort(key=lambda r: (r.scores["l0"].value, r.subject.name))
        out.append(Family(members, [order.index((design(r) or ("", ""))[1]) for r in members]))
    return out


def _advise(family: Family, records: Sequence[Record]) -> Advice:
    """The curves of a family, its verdicts and what they rest on. `records`: all, among them those of probing."""
    members, level = family
    levels = max(level) + 1
    at_level = [[r for r, k in zip(members, level, strict=True) if k == i] for i in range(levels)]
    l0 = [float(np.mean([r.scores["l0"].value for r in group])) for group in at_level]
    curves = [c for name in STATISTICS if (c := curve(family, name)) is not None]
    if levels < LEAST_LEVELS:
        verdicts = ["cannot say"] * levels
        sentences = [f"A minimum takes three levels of L0 at least; the family has {levels}"]
    else:
        told = _apart(curves)
        verdicts = joint([c.sides for c in curves], apart=bool(told))
        sentences = [*(sentence(c, l0) for c in curves), *told]
        sentences += [f"{STATISTICS[1]} is missing: an L0 of the family is not below its n"] * (len(curves) < 2)
    sentences += _of_training(curves)
    sentences += _of_probing(at_level, l0, verdicts, records)
    known, width = design(members[0]), members[0].subject.meta.get("d_sae")
    return Advice(
        site=site_titles(records)[site_and_data(members[0])],
        architecture="" if known is None else known[0],
        d_sae=width if isinstance(width, int) else 0,
        l0=l0,
        saes=[[r.subject.name for r in group] for group in at_level],
        curves=curves,
        verdicts=verdicts,
        sentences=sentences,
    )


def curve(family: Family, statistic: str) -> Curve | None:
    """A statistic over the levels of a family; None where an SAE lacks it or no unit is common to all.

    Units, blocks of texts or groups of latents, are drawn anew with replacement.
    """
    members, level = family
    stacked = None if any(statistic not in r.scores for r in members) else stack(members, statistic, turned=False)
    if stacked is None:
        return None
    x, w = stacked
    counts = resample_counts(x.shape[1], DRAWS)
    draws = counts @ (x * w).T / np.maximum(counts @ w.T, 1e-300)
    return curve_of(statistic, (x * w).sum(1) / w.sum(1), draws, level)


def curve_of(statistic: str, values: np.ndarray, draws: np.ndarray, level: Sequence[int]) -> Curve:
    """A statistic over levels of L0 from the values of SAEs.

    Args:
        statistic: its name.
        values: one an SAE. [saes]
        draws: the same as other latents or texts might have given them. [b, saes]
        level: of each SAE, from 0 up in the order of L0, none left out. [saes]
    """
    groups = [values[np.array(level) == k] for k in range(max(level) + 1)]
    drawn = level_draws(draws, values, level, rng(TASK, statistic, "training"))
    means = np.array([g.mean() for g in groups])
    first, last = may_be_least(means, drawn)
    low, high = np.percentile(drawn, [2.5, 97.5], axis=0)
    once = dips_once(means, drawn)
    known: list[Side] = sides(first, last, len(means)) if once else ["unknown"] * len(means)
    return Curve(statistic, means, low, high, first, last, once, known, pooled_sd(groups)[1])


def joint(each: Sequence[Sequence[Side]], apart: bool = False) -> list[str]:
    """Verdicts by level from what the statistics say of it.

    One that cannot say leaves it to the other, unless the two disagree on some level or are `apart`: then they have
    their minimum at different places, and neither is believed alone.
    """
    known = [list(dict.fromkeys(s for s in level if s != "unknown")) for level in zip(*each, strict=True)]
    agree = not apart and all(len(k) < 2 for k in known)
    out = []
    for said, level in zip(known, zip(*each, strict=True), strict=True):
        if len(said) > 1:
            out.append("statistics disagree")
        else:
            out.append(VERDICTS[said[0]] if said and (agree or "unknown" not in level) else "cannot say")
    return out


def sentence(c: Curve, l0: Sequence[float]) -> str:
    """Where the statistic is least, over which L0 it may be, and what that leaves open."""
    least = int(np.argmin(c.values))
    span = f"L0 {l0[c.first]:.4g}" if c.first == c.last else f"L0 {l0[c.first]:.4g} to {l0[c.last]:.4g}"
    head = f"{c.statistic} is least at L0 {l0[least]:.4g}"
    if not c.once:
        return f"{head}, but neither falls to it nor rises from it alone: it has more than one dip and cannot say"
    if c.first == 0 and c.last == len(l0) - 1:
        return f"{head}, but may be so at every L0 of the family: it is flat within noise"
    if c.last == len(l0) - 1:
        return f"{head}; it may be least at {span}, the upper end of the family, or beyond: train a higher L0"
    if c.first == 0:
        return f"{head}; it may be least at {span}, the lower end of the family, or below: train a lower L0"
    return f"{head}; it may be least at {span}, and is not at either end of the family"


def _apart(curves: Sequence[Curve]) -> list[str]:
    """That no L0 may be the least of both statistics; one at either end of the family says it of no level."""
    if len(curves) < 2 or not all(c.once for c in curves):
        return []
    low, high = sorted(curves, key=lambda c: c.last)
    told = f"{low.statistic} and {high.statistic} disagree: the first is least at a lower L0; neither is believed alone"
    return [told] if low.last < high.first else []


def _of_training(curves: Sequence[Curve]) -> list[str]:
    """What is known of the noise of training."""
    if df := min((c.seeds_df for c in curves), default=0):
        return [f"Intervals hold the spread over training seeds ({df} degrees of freedom), latents and texts"]
    return ["Intervals are over latents and texts alone: no L0 has two training seeds, so noise of training is unknown"]


def _of_probing(
    at_level: Sequence[Sequence[Record]], l0: Sequence[float], verdicts: Sequence[str], records: Sequence[Record]
) -> list[str]:
    """Where one latent detects labelled concepts best, if the folder has these SAEs' records of sparse probing.

    Args:
        at_level: the family's records by level.
        l0: of the levels.
        verdicts: of the levels.
        records: all of the folder.
    """
    site = at_level[0][0].site
    probed = newest_by_subject(r for r in records if r.task.name == "sparse_probing" and r.site == site)
    metric = "average_precision_max"
    scores = [
        [p.scores[metric].value for r in group if (p := probed.get(r.subject.name)) and metric in p.scores]
        for group in at_level
    ]
    if not all(scores):
        return []
    means = [float(np.mean(values)) for values in scores]
    best = int(np.argmax(means))
    words = {
        "plausible": "which agrees",
        "cannot say": "of which the diagnostics cannot say",
        "statistics disagree": "where the diagnostics disagree",
    }
    said = words.get(verdicts[best], f"which the diagnostics call {verdicts[best]}")
    told = ", ".join(f"{m:.3f}" for m in means)
    return [f"One latent detects labelled texts best at L0 {l0[best]:.4g}, {said} ({metric} {told} over rising L0)"]


def to_rows(found: Sequence[Advice]) -> list[dict[str, object]]:
    """Advice on families in JSON types."""
    return [
        {
            "site": a.site,
            "architecture": a.architecture,
            "d_sae": a.d_sae,
            "levels": [
                {"l0": round(l0, 4), "saes": names, "verdict": verdict}
                | {
                    c.statistic: {
                        "value": float(f"{c.values[i]:.6g}"),
                        "low": float(f"{c.low[i]:.6g}"),
                        "high": float(f"{c.high[i]:.6g}"),
                        "says": VERDICTS[c.sides[i]],
                    }
                    for c in a.curves
                }
                for i, (l0, names, verdict) in enumerate(zip(a.l0, a.saes, a.verdicts, strict=True))
            ],
            "sentences": a.sentences,
        }
        for a in found
    ]


def to_text(found: Sequence[Advice]) -> str:
    """Advice on families as Markdown: a heading, a table over L0 and sentences for each family."""
    from tabulate import tabulate

    parts = []
    for a in found:
        heads = ["L0", "SAEs", *(f"{c.statistic} [95 %]" for c in a.curves), *(f"by {c.statistic}" for c in a.curves)]
        rows = []
        for i, l0 in enumerate(a.l0):
            values = [f"{c.values[i]:.4f} [{c.low[i]:.4f}, {c.high[i]:.4f}]" for c in a.curves]
            said = [VERDICTS[c.sides[i]] if len(a.l0) >= LEAST_LEVELS else "–" for c in a.curves]
            rows.append([f"{l0:.4g}", str(len(a.saes[i])), *values, *said, a.verdicts[i]])
        table = tabulate(rows, [*heads, "verdict"], tablefmt="github", disable_numparse=True)
        title = f"{a.architecture}, {a.d_sae} latents · {a.site}"
        parts.append("\n".join([title, "", table, "", *(f"- {s}." for s in a.sentences)]))
    return "\n\n".join(parts) + "\n"
