"""Did anything get worse beyond noise? Compares a results folder with an earlier one; for continuous integration.

A regression is a metric that (1) is significantly worse in the paired test over units, p-values adjusted over all
metrics and subjects of the check (Holm), and (2) has moved by more than its minimum reliable difference, which is what
new evaluation seeds and, where values have standard errors, new test texts would explain (`ARITHMETIC` times the value
where that is more, as it is for tasks that draw no random numbers). One common unit is tested over its test texts, see
`compare_metric`. Metrics without a direction are not judged. Which metrics are looked at follows from the tasks' cards:
the headline ones, or all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from saebench_lite.errors import SaebenchError
from saebench_lite.records.arrays import metric_noise, protocol_key
from saebench_lite.records.metric import Better
from saebench_lite.records.record import Record
from saebench_lite.records.selection import age
from saebench_lite.report.compare import Metrics, compare_metric, why_apart
from saebench_lite.report.numbers import figure, p_text, small
from saebench_lite.stats.paired import holm

LEVEL = 0.05


ARITHMETIC = 1e-4
"Change relative to the value that other hardware or library versions may cause without any random numbers."


Verdict = Literal["ok", "worse", "better", "not tested"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One metric of one subject, before and after."""

    subject: str
    task: str
    metric: str
    better: Better
    before: float
    after: float
    gain: float
    "How much better it got; negative is worse. In the metric's unit, for a metric whose best is 1 in distance to it."
    threshold: float
    "The change that counts: the reliable difference, or --min-effect."
    p: float | None
    units: int
    p_holm: float | None = None
    verdict: Verdict = "ok"


@dataclass(frozen=True, kw_only=True)
class Check:
    """The outcome of a check."""

    findings: list[Finding]
    problems: list[str] = field(default_factory=list)
    "Why parts of the baseline have nothing to be compared with."
    notes: list[str] = field(default_factory=list)

    @property
    def regressions(self) -> list[Finding]:
        """What got worse beyond noise."""
        return [f for f in self.findings if f.verdict == "worse"]

    @property
    def status(self) -> int:
        """Exit status: 1 with a regression, else 2 if something could not be compared, else 0."""
        return 1 if self.regressions else 2 if self.problems else 0


def check(
    new: Sequence[Record],
    baseline: Sequence[Record],
    metrics: Metrics = "headline",
    min_effect: float | None = None,
) -> Check:
    """Compares every SAE of `baseline` with the subject of the same name in `new`.

    Site, data, task version and settings must agree; fingerprints may differ, and so may the seeds: then units are
    paired over their means over seeds. Baselines and controls are not judged, nor do they tell the noise of an SAE's
    score: where the texts are fixed, seeds may change a probe and no SAE. SaebenchError if the baseline holds no scores
    of SAEs.

    Args:
        new: records that are judged.
        baseline: records of an earlier run.
        metrics: the headline metrics, or all.
        min_effect: takes the place of the reliable difference, if given.
    """
    judged = [r for r in baseline if r.subject.kind == "sae" and r.status == "ok"]
    if not judged:
        raise SaebenchError("the baseline holds no scores of SAEs; give the results folder of an earlier run")
    there: dict[tuple[str, str], list[Record]] = {}
    for record in new:
        there.setdefault((record.subject.name, protocol_key(record, seeds=False)), []).append(record)
    pools: dict[str, list[Record]] = {}
    for record in [*new, *baseline]:
        if record.status == "ok" and record.subject.kind == "sae":
            pools.setdefault(protocol_key(record, seeds=False), []).append(record)
    findings: list[Finding] = []
    problems: list[str] = []
    notes: list[str] = []
    names = {r.subject.name for r in new}
    for before in sorted(judged, key=lambda r: (r.subject.name, r.task.name, r.digest)):
        subject, key = before.subject.name, protocol_key(before, seeds=False)
        if subject not in names:
            problems.append(f"{subject}: the new results hold no subject of that name")
        elif after := _counterpart(before, there.get((subject, key), [])):
            if after.status != "ok":
                problems.append(f"{subject}: {after.task.name} is {after.status} now ({after.reason})")
            elif lost := sorted(set(before.per_unit) - set(after.per_unit)):
                problems.append(f"{subject}: {after.task.name} has no {lost[0]} any more")
            else:
                findings += _findings(before, after, pools[key], metrics, min_effect, notes)
        else:
            others = [r for r in new if r.subject.name == subject]
            problems.append(f"{subject}: {why_apart(before, others, subject, seeds=False)}")
    return Check(findings=_judge(findings), problems=list(dict.fromkeys(problems)), notes=list(dict.fromkeys(notes)))


def _counterpart(before: Record, candidates: Sequence[Record]) -> Record | None:
    """The record under the same seeds if there is one, else the latest."""
    same = [r for r in candidates if r.seeds == before.seeds]
    return max(same or candidates, key=age, default=None)


def _findings(
    before: Record,
    after: Record,
    pool: Sequence[Record],
    metrics: Metrics,
    min_effect: float | None,
    notes: list[str],
) -> list[Finding]:
    """The metrics of a pair of records, not yet judged; adds to `notes`.

    Args:
        before: Record of the baseline.
        after: Its counterpart.
        pool: Comparable records, from which the noise of a metric is taken.
        metrics: Headline metrics or all.
        min_effect: Change that counts, in place of the reliable difference.
        notes: Sentences for the report.
    """
    out = []
    for metric in before.task.headline if metrics == "headline" else before.scores:
        if metric not in before.per_unit or metric not in after.per_unit:
            continue
        better, value = before.task.metrics[metric].better, before.scores[metric].value
        result = compare_metric(after, before, metric, by_seed=after.seeds == before.seeds)
        if better == "neither" or result is None:
            continue
        threshold = 0.0 if min_effect is None else min_effect
        if min_effect is None:
            noise = metric_noise(pool, metric)
            threshold = max(0.0 if noise is None else noise.mrd, ARITHMETIC * abs(value))
            if noise is None:
                notes.append(f"{before.task.name} {metric}: one seed shows no noise; the paired test alone decides")
            elif before.seeds and not noise.drawn:
                notes.append(f"{before.task.name} {metric}: seeds change no digit; the paired test alone decides")
        finding = Finding(
            subject=before.subject.name,
            task=before.task.name,
            metric=metric,
            better=better,
            before=value,
            after=after.scores[metric].value,
            gain=-result.difference if better == "lower" else result.difference,
            threshold=threshold,
            p=result.p,
            units=result.n,
        )
        out.append(finding)
    return out


def _judge(findings: Sequence[Finding]) -> list[Finding]:
    """The findings with adjusted p-values and verdicts."""
    adjusted = holm(np.array([np.nan if f.p is None else f.p for f in findings]))
    out = []
    for f, q in zip(findings, adjusted, strict=True):
        verdict: Verdict = "ok"
        if q != q:
            verdict = "not tested"
        elif q <= LEVEL and abs(f.gain) > f.threshold:
            verdict = "worse" if f.gain < 0 else "better"
        out.append(replace(f, p_holm=None if q != q else float(q), verdict=verdict))
    return out


def to_markdown(result: Check) -> str:
    """A summary: the verdict in a sentence, then what changed, then all that was looked at."""
    from tabulate import tabulate

    def table(findings: Sequence[Finding]) -> str:
        heads = ["subject", "metric", "before", "after", "gain", "counts from", "p Holm", "units", "verdict"]
        body = [
            [
                f.subject,
                f"{f.task} {f.metric}",
                figure(f.before),
                figure(f.after),
                figure(f.gain),
                small(f.threshold),
                p_text(f.p_holm),
                str(f.units),
                f.verdict,
            ]
            for f in findings
        ]
        return tabulate(body, heads, tablefmt="github", disable_numparse=True)

    lines = [f"## {_sentence(result)}", ""]
    changed = [f for f in result.findings if f.verdict in ("worse", "better")]
    if changed:
        lines += [table(changed), ""]
    lines += [f"- not comparable: {p}" for p in result.problems] + [f"- {n}" for n in result.notes]
    if result.findings:
        lines += ["", "<details><summary>all comparisons</summary>", "", table(result.findings), "", "</details>"]
    return "\n".join(lines).rstrip() + "\n"


def _sentence(result: Check) -> str:
    if n := len(result.regressions):
        return f"{n} regression{'s' if n > 1 else ''} beyond noise in {len(result.findings)} comparisons"
    if result.problems:
        return f"Not comparable: {len(result.problems)} reason{'s' if len(result.problems) > 1 else ''}"
    return f"No regression beyond noise in {len(result.findings)} comparisons"


def to_junit(result: Check) -> str:
    """JUnit XML: a test case a comparison, a failure a regression, an error whatever could not be compared."""
    from xml.etree import ElementTree as xml

    skipped = [f for f in result.findings if f.verdict == "not tested"]
    counts = {
        "name": "saebench-lite check",
        "tests": str(len(result.findings) + len(result.problems)),
        "failures": str(len(result.regressions)),
        "errors": str(len(result.problems)),
        "skipped": str(len(skipped)),
    }
    root = xml.Element("testsuites")
    suite = xml.SubElement(root, "testsuite", counts)
    for f in result.findings:
        case = xml.SubElement(suite, "testcase", classname=f"{f.task}.{f.metric}", name=f.subject)
        if f.verdict == "worse":
            words = f"{f.metric} went from {figure(f.before)} to {figure(f.after)} (Holm p {p_text(f.p_holm)})"
            failure = xml.SubElement(case, "failure", message=words, type="regression")
            failure.text = f"gain {f.gain:.6g}, counts from {f.threshold:.6g}, {f.units} units"
        elif f.verdict == "not tested":
            xml.SubElement(case, "skipped", message="fewer than two units to pair, without standard errors")
    for problem in result.problems:
        subject, _, reason = problem.partition(": ")
        case = xml.SubElement(suite, "testcase", classname="comparable", name=subject)
        xml.SubElement(case, "error", message=reason, type="not comparable")
    xml.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + xml.tostring(root, encoding="unicode") + "\n"
