"""Did an SAE get worse beyond noise? Holds a results folder against earlier ones; for continuous integration.

A regression is a metric that (1) is significantly worse, p-values adjusted over all metrics and subjects of the check
(Holm), and (2) has moved by more than what new evaluation seeds and, where values have standard errors, new test texts
would explain (`ARITHMETIC` times the value where that is more, as for tasks that draw no random numbers). What (1) is
depends on what there is (report/evidence.py): one earlier SAE shows the noise of the evaluation alone, which is what
counts for the same weights under new code; several trained with different seeds show what another training does.

A retrained SAE is asked as a whole whether it is one more of its recipe (report/recipe_test.py); one that is not has
changed, which is a failure too.

With a margin `allow` a loss up to it is allowed: worse is a loss that is significantly larger, ok one that is
significantly smaller (a test of non-inferiority). What is neither, or significant before the adjustment alone, is
undecided. Metrics without a direction are not judged; whatever could not be judged is a problem, not a pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from saebench_lite.errors import SaebenchError
from saebench_lite.records.arrays import metric_noise
from saebench_lite.records.metric import Better
from saebench_lite.records.record import Record
from saebench_lite.report.compare import Metrics
from saebench_lite.report.counterparts import Counterparts, matched
from saebench_lite.report.evidence import ARITHMETIC, Evidence, evidence, further, p_values
from saebench_lite.report.judged_metrics import judged_metrics
from saebench_lite.report.recipe_test import RecipeTest, recipe_tests
from saebench_lite.stats.paired import holm
from saebench_lite.stats.reseed_noise import Noise

LEVEL = 0.05


Verdict = Literal["ok", "worse", "better", "undecided", "not tested"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One metric of one subject, before and after."""

    subject: str
    task: str
    metric: str
    better: Better
    unit: str
    before: float
    "Mean over earlier SAEs."
    after: float
    gain: float
    "How much better it got; negative is worse. In the metric's unit, for a metric whose best is 1 in distance to it."
    threshold: float
    "The change that counts: the reliable difference, or --min-effect."
    reach: float
    "Half of the 95 % interval of the gain; NaN where no noise is known."
    p: float | None
    "Of no change, or of a loss of just the margin."
    units: int
    seeds: tuple[int, int]
    "New SAEs and earlier ones."
    p_holm: float | None
    verdict: Verdict
    needs: str | None = None
    "What would decide where the verdict is undecided; None where it is not, or nothing is known to."


@dataclass(frozen=True, kw_only=True)
class Check:
    """The outcome of a check."""

    findings: list[Finding]
    problems: list[str] = field(default_factory=list)
    "Why parts of either side have nothing to be compared with."
    recipes: list[RecipeTest] = field(default_factory=list)
    "Of SAEs with several earlier ones."
    caveats: list[str] = field(default_factory=list)
    "Why a verdict of worse may be another training seed's doing."
    notes: list[str] = field(default_factory=list)

    @property
    def regressions(self) -> list[Finding]:
        """What got worse beyond noise."""
        return [f for f in self.findings if f.verdict == "worse"]

    @property
    def changed(self) -> list[RecipeTest]:
        """SAEs that are not one more of their recipe."""
        return [r for r in self.recipes if r.changed]

    @property
    def undecided(self) -> list[Finding]:
        """What more seeds or units would have to decide."""
        return [f for f in self.findings if f.verdict == "undecided"]

    def status(self, strict: bool = False) -> int:
        """Exit status: 1 with a regression or a changed SAE, else 2 if something could not be compared, else 0.

        With `strict` it is 3 instead of 0 where something is undecided.
        """
        if self.regressions or self.changed:
            return 1
        return 2 if self.problems else 3 if strict and self.undecided else 0


@dataclass(frozen=True, kw_only=True)
class _Draft:
    """A comparison before all of them are adjusted together."""

    pair: Counterparts
    metric: str
    found: Evidence
    threshold: float
    before: float
    after: float

    @property
    def unmoved(self) -> bool:
        """Whether the change is one of the last digits."""
        return self.found.identical or abs(self.found.gain) <= ARITHMETIC * abs(self.before)


def check(
    new: Sequence[Record],
    *baselines: Sequence[Record],
    metrics: Metrics = "headline",
    min_effect: float | None = None,
    allow: float | None = None,
    damaged: Sequence[str] = (),
) -> Check:
    """Judges every SAE of the baselines by its counterpart in `new`.

    Site, data, task version and settings must agree; evaluation seeds may differ: then units are paired over their
    means over seeds. Supervised baselines and controls are not judged, nor do they tell the noise of an SAE's score:
    where the texts are fixed, seeds may change a probe and no SAE. SaebenchError if no baseline holds scores of SAEs,
    or for a min_effect or allow that is negative or not finite.

    Args:
        new: records that are judged.
        baselines: records of an earlier run each; several show what another training seed does.
        metrics: the headline metrics, or all.
        min_effect: takes the place of the reliable difference, if given; only losses are asked about then.
        allow: a loss up to this much passes; a verdict of ok then says that it is no larger. No recipe is tested.
        damaged: sentences on files of either side that could not be read.
    """
    for name, value in (("min-effect", min_effect), ("allow", allow)):
        if value is not None and not 0 <= value < math.inf:
            raise SaebenchError(f"--{name} is {value}; give a number that is not negative, in the unit of the metrics")
    if not any(r.subject.kind == "sae" and r.status == "ok" for folder in baselines for r in folder):
        raise SaebenchError("the baseline holds no scores of SAEs; give the results folder of an earlier run")
    found = matched(new, baselines)
    problems, notes = [*damaged, *found.problems], [*found.notes]
    noise = _Noises(found.scored)
    drafts: list[_Draft] = []
    for pair in found.pairs:
        names, sentences = judged_metrics(pair, metrics)
        problems += sentences
        drafts += [_draft(pair, metric, noise, min_effect, notes) for metric in names]
    findings = _judge(drafts, allow)
    problems += [p for f, d in zip(findings, drafts, strict=True) if (p := _untested(f, d)) is not None]
    recipes = recipe_tests(found.pairs) if allow is None and min_effect is None else []
    problems, notes = list(dict.fromkeys(problems)), list(dict.fromkeys(notes))
    caveats = _single_baselines(found.pairs)
    return Check(findings=findings, problems=problems, recipes=recipes, caveats=caveats, notes=notes)


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


class _Noises:
    """Reseed noise of each metric over all SAEs scored under a protocol, computed once."""

    def __init__(self, scored: dict[str, list[Record]]) -> None:
        self.scored = scored
        self.known: dict[tuple[str, str], Noise | None] = {}

    def of(self, key: str, metric: str) -> Noise | None:
        """The noise of a metric under the protocol `key`; None where nobody has two seeds."""
        if (key, metric) not in self.known:
            self.known[key, metric] = metric_noise(self.scored[key], metric)
        return self.known[key, metric]


def _draft(pair: Counterparts, metric: str, noises: _Noises, min_effect: float | None, notes: list[str]) -> _Draft:
    """What is known of a metric of a pair; adds to `notes`.

    Args:
        pair: new and earlier records.
        metric: its name.
        noises: reseed noise by metric.
        min_effect: change that counts, in place of the reliable difference.
        notes: sentences for the report.
    """
    record = pair.earlier[0]
    before, after = (float(np.mean([r.scores[metric].value for r in rs])) for rs in (pair.earlier, pair.new))
    threshold = 0.0 if min_effect is None else min_effect
    if min_effect is None:
        noise = noises.of(pair.key, metric)
        threshold = max(0.0 if noise is None else noise.mrd, ARITHMETIC * abs(before))
        agree = noise is not None and record.seeds and not noise.drawn
        if not pair.retrained and (noise is None or agree):
            what = "seeds change no digit" if agree else "one seed shows no noise"
            notes.append(f"{record.task.name} {metric}: {what}; the test over units alone decides")
    found = evidence(pair, metric)
    return _Draft(pair=pair, metric=metric, found=found, threshold=threshold, before=before, after=after)


def _judge(drafts: Sequence[_Draft], allow: float | None) -> list[Finding]:
    """The findings with adjusted p-values and verdicts."""
    p = p_values([d.found for d in drafts], -(allow or 0.0))
    adjusted = holm(p)
    out = []
    for d, raw, q in zip(drafts, p.tolist(), adjusted.tolist(), strict=True):
        verdict = _verdict(d, raw, q, allow)
        level = LEVEL * raw / q if verdict == "undecided" and d.found.gain < -(allow or 0.0) and q > 0 else LEVEL
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
            needs=further(d.found, -(allow or 0.0), level) if verdict == "undecided" else None,
        )
        out.append(finding)
    return out


def _verdict(d: _Draft, p: float, q: float, allow: float | None) -> Verdict:
    """The verdict of one comparison.

    Args:
        d: the comparison.
        p: of no change, or of a loss of the margin; NaN where no noise is known.
        q: p, adjusted.
        allow: the margin, None where there is none.
    """
    if d.unmoved:
        return "ok"
    if p != p:
        return "not tested"
    excess = d.found.gain + (allow or 0.0)
    moved = abs(excess) > d.threshold
    if excess < 0 and moved and q <= LEVEL:
        return "worse"
    if allow is not None:
        return "ok" if excess > 0 and moved and p <= LEVEL else "undecided"
    if excess > 0:
        return "better" if moved and q <= LEVEL else "ok"
    return "undecided" if moved and p <= LEVEL else "ok"


def _untested(f: Finding, d: _Draft) -> str | None:
    """Why a headline metric that changed could not be tested; None where it was, or need not be."""
    if f.verdict != "not tested" or f.metric not in d.pair.earlier[0].task.headline:
        return None
    what = (
        "retrained baselines that agree to the last digit" if d.pair.retrained else "one unit without standard errors"
    )
    return f"{f.subject}: {f.task} {f.metric} changed, and {what} cannot tell whether that is noise; score more units"
