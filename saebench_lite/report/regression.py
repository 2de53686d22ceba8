"""Did an SAE get worse beyond noise? Holds a results folder against earlier ones; for continuous integration.

A regression is a metric that (1) is significantly worse, p-values adjusted over all metrics and subjects of the check
(Holm), and (2) has moved by more than what new evaluation seeds and, where values have standard errors, new test texts
would explain (`ARITHMETIC` times the value where that is more, as for tasks that draw no random numbers). What (1) is
depends on what there is (report/evidence.py): one earlier SAE shows the noise of the evaluation alone, which is what
counts for the same weights under new code; several trained with different seeds show what another training does.

A retrained SAE is asked as a whole whether it is one more of its recipe (report/recipe_test.py); one that is not has
changed, which is a failure too.

With a margin (report/margins.py) a loss up to it is allowed: worse is a significantly larger loss, ok a significantly
smaller one (a test of non-inferiority). What is neither, or significant before the adjustment alone, is undecided.
Metrics without a direction are not judged; whatever could not be judged is a problem, not a pass.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from saebench_lite.errors import SaebenchError
from saebench_lite.records.record import Record
from saebench_lite.records.verdicts import shipped_verdicts
from saebench_lite.report.compare import Metrics
from saebench_lite.report.counterparts import Counterparts, matched
from saebench_lite.report.evidence import ARITHMETIC, Evidence, Noises, evidence, further, levels, p_values
from saebench_lite.report.findings import Check, Finding, Verdict
from saebench_lite.report.judged_metrics import judged_metrics, remarks
from saebench_lite.report.margins import Allow, Asked, Name, checked, margins, too_small
from saebench_lite.report.recipe_test import recipe_tests
from saebench_lite.stats.paired import first_of_each, holm

LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class _Draft:
    """A comparison before all of them are adjusted together."""

    pair: Counterparts
    metric: str
    found: Evidence
    threshold: float
    before: float
    after: float
    margin: float | None
    remarks: tuple[str, ...]

    @property
    def beyond(self) -> float:
        """The gain that it is tested against: a loss of the margin."""
        return -(self.margin or 0.0)

    @property
    def asked(self) -> Asked | None:
        """Its margin; None without one."""
        name = (self.pair.earlier[0].task.name, self.metric)
        return None if self.margin is None else Asked(name, self.margin, self.threshold, _certain(self.found))

    @property
    def values(self) -> Hashable | None:
        """What comparisons of one SAE with the same values in all units agree in; None where they show no change.

        Without one two metrics may agree by chance, as shares that are 0; then each is a test.
        """
        found, better = self.found, self.pair.earlier[0].task.metrics[self.metric].better
        told = (self.pair.label, better, self.beyond, self.before, self.after, found.texts, found.training)
        return None if self.unmoved else (*told, found.units.tobytes())

    @property
    def unmoved(self) -> bool:
        """Whether the change is one of the last digits."""
        return self.found.identical or abs(self.found.gain) <= ARITHMETIC * abs(self.before)


def check(
    new: Sequence[Record],
    *baselines: Sequence[Record],
    metrics: Metrics = "headline",
    min_effect: float | None = None,
    allow: Allow = None,
    damaged: Sequence[str] = (),
) -> Check:
    """Judges every SAE of the baselines by its counterpart in `new`.

    Site, data, task version and settings must agree; evaluation seeds may differ: then units are paired over their
    means over seeds. Supervised baselines and controls are not judged, nor do they tell the noise of an SAE's score:
    where the texts are fixed, seeds may change a probe and no SAE. SaebenchError if no baseline holds scores of SAEs,
    for a min_effect or allow that is negative or not finite, and for an allow of a metric that is not judged.

    Args:
        new: records that are judged.
        baselines: records of an earlier run each; several show what another training seed does.
        metrics: headline: those that tasks show unasked; or all.
        min_effect: takes the place of the reliable difference, if given; only losses are asked about then.
        allow: a loss up to this much passes, of all metrics or of each that it names; a verdict of ok then says that it
            is no larger. No recipe is tested.
        damaged: sentences on files of either side that could not be read.
    """
    if min_effect is not None and not 0 <= min_effect < math.inf:
        raise SaebenchError(f"--min-effect is {min_effect}; give a number that is not negative, in the metrics' unit")
    allowed = checked(allow)
    if not any(r.subject.kind == "sae" and r.status == "ok" for folder in baselines for r in folder):
        raise SaebenchError("the baseline holds no scores of SAEs; give the results folder of an earlier run")
    found = matched(new, baselines)
    problems, notes = [*damaged, *found.problems], [*found.notes]
    noise = Noises(found.scored)
    judged: list[tuple[Counterparts, str]] = []
    for pair in found.pairs:
        found_in = judged_metrics(pair, metrics)
        problems += found_in.faults
        judged += [(pair, metric) for metric in found_in.metrics]
    sizes = _Sizes(noise, min_effect, margins(allowed, judged, found.pairs), notes)
    drafts = [_draft(pair, metric, sizes) for pair, metric in judged]
    findings = _judge(drafts)
    notes += _repeated(drafts)
    problems += [p for f, d in zip(findings, drafts, strict=True) if (p := _untested(f, d)) is not None]
    recipes = recipe_tests(found.pairs) if not allowed and min_effect is None else []
    caveats = _single_baselines(found.pairs)
    problems, notes = list(dict.fromkeys(problems)), list(dict.fromkeys(notes))
    small = too_small([d.asked for d in drafts if d.asked is not None])
    return Check(findings=findings, problems=problems, recipes=recipes, caveats=caveats, notes=notes, margins=small)


def _single_baselines(pairs: Sequence[Counterparts]) -> list[str]:
    """A sentence on SAEs whose training noise is not known; none where there are none."""
    names = list(dict.fromkeys(p.label for p in pairs if not p.retrained and not p.same_weights))
    if not names:
        return []
    told = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return [
        f"{told}: one earlier SAE shows the noise of the evaluation alone; another training seed of the same recipe may"
        " be called worse: give several retrained baselines to --against"
    ]


class _Sizes(NamedTuple):
    """What counts as a change."""

    noises: Noises
    min_effect: float | None
    "Takes the place of the reliable difference."
    margin: dict[Name, float | None]
    notes: list[str]
    "Takes sentences for the report."


def _draft(pair: Counterparts, metric: str, sizes: _Sizes) -> _Draft:
    """What is known of a metric of a pair."""
    record, min_effect = pair.earlier[0], sizes.min_effect
    before, after = levels(pair, metric)
    threshold = 0.0 if min_effect is None else min_effect
    found = evidence(pair, metric)
    if min_effect is None:
        noise = sizes.noises.of(pair.key, metric)
        threshold = max(0.0 if noise is None else noise.mrd, ARITHMETIC * abs(before))
        agree = noise is not None and record.seeds and not noise.drawn
        if not pair.retrained and (noise is None or agree) and _certain(found):
            what = "seeds change no digit" if agree else "one seed shows no noise"
            sizes.notes.append(f"{record.task.name} {metric}: {what}; the test over units alone decides")
    told = remarks(pair, metric)
    sizes.notes.extend(told)
    return _Draft(
        pair=pair,
        metric=metric,
        found=found,
        threshold=threshold,
        before=before,
        after=after,
        margin=sizes.margin[record.task.name, metric],
        remarks=tuple(told),
    )


def _judge(drafts: Sequence[_Draft]) -> list[Finding]:
    """The findings with adjusted p-values and verdicts."""
    p = p_values([d.found for d in drafts], [d.beyond for d in drafts])
    adjusted = holm(p, first_of_each([d.values for d in drafts]))
    out = []
    for d, raw, q in zip(drafts, p.tolist(), adjusted.tolist(), strict=True):
        verdict = _verdict(d, raw, q)
        level = LEVEL * raw / q if verdict == "undecided" and d.found.gain < d.beyond and q > 0 else LEVEL
        task = d.pair.earlier[0].task
        finding = Finding(
            subject=d.pair.label,
            task=task.name,
            metric=d.metric,
            better=task.metrics[d.metric].better,
            unit=task.metrics[d.metric].unit,
            before=d.before,
            after=d.after,
            gain=d.found.gain,
            threshold=d.threshold,
            reach=d.found.reach,
            p=None if raw != raw else raw,
            units=len(d.found.units),
            seeds=d.found.seeds,
            p_holm=None if q != q else q,
            verdict=verdict,
            margin=d.margin,
            audit=shipped_verdicts().of(task.name, task.version, task.metrics[d.metric]),
            certain=_certain(d.found),
            remarks=d.remarks,
            needs=further(d.found, d.beyond, level) if verdict == "undecided" else None,
        )
        out.append(finding)
    return out


def _repeated(drafts: Sequence[_Draft]) -> list[str]:
    """A sentence on each comparison that several metrics or settings share."""
    alike: dict[int, list[_Draft]] = {}
    for d, first in zip(drafts, first_of_each([d.values for d in drafts]), strict=True):
        alike.setdefault(first, []).append(d)
    names = [
        (some[0].pair.label, [f"{d.pair.earlier[0].task.name} {d.metric}" for d in some]) for some in alike.values()
    ]
    return [
        f"{label}: {', '.join(told)}: the same values in every unit; counted once by Holm"
        for label, told in names
        if len(told) > 1
    ]


def _certain(found: Evidence) -> bool:
    """Whether a loss can be significant, if it is large enough."""
    return found.noisy and found.least_p <= LEVEL


def _verdict(d: _Draft, p: float, q: float) -> Verdict:
    """The verdict of a comparison from its p-value, NaN where no noise is known, and from that adjusted."""
    if d.unmoved:
        return "ok"
    if p != p:
        return "not tested"
    excess = d.found.gain - d.beyond
    moved = abs(excess) > d.threshold
    if excess < 0 and moved and q <= LEVEL:
        return "worse"
    if d.margin is not None:
        return "ok" if excess > 0 and moved and p <= LEVEL else "undecided"
    if excess > 0:
        return "better" if moved and q <= LEVEL else "ok"
    return "undecided" if moved and (p <= LEVEL or d.found.least_p > LEVEL) else "ok"


def _untested(f: Finding, d: _Draft) -> str | None:
    """Why a metric shown unasked that changed could not be tested; None where it was, or need not be."""
    if f.verdict != "not tested" or f.metric not in d.pair.earlier[0].task.shown:
        return None
    what = (
        "retrained baselines that agree to the last digit" if d.pair.retrained else "one unit without standard errors"
    )
    return f"{f.subject}: {f.task} {f.metric} changed, and {what} cannot tell whether that is noise; score more units"
