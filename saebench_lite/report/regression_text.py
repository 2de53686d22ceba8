"""The outcome of a regression check as Markdown and as JUnit XML."""

from __future__ import annotations

from collections.abc import Sequence

from saebench_lite.report.markup import markdown, one_line
from saebench_lite.report.numbers import MISSING, figure, p_text, small
from saebench_lite.report.regression import Check, Finding


def to_markdown(result: Check, every: bool = True) -> str:
    """A summary: the verdict in a sentence, what changed, remarks and, with `every`, all that was looked at."""
    told = [f for f in result.findings if f.verdict not in ("ok", "not tested")]
    lines = [f"## {_sentence(result)}", ""]
    if told:
        lines += [_table(told), ""]
    lines += [f"- undecided: {markdown(f.subject)}: {f.task} {f.metric}: {_what_decides(f)}" for f in result.undecided]
    lines += [f"- not comparable: {markdown(p)}" for p in result.problems] + [f"- {markdown(n)}" for n in result.notes]
    if result.findings and every:
        lines += ["", "<details><summary>all comparisons</summary>", "", _table(result.findings), "", "</details>"]
    return "\n".join(lines).rstrip() + "\n"


def _table(findings: Sequence[Finding]) -> str:
    from tabulate import tabulate

    heads = ["subject", "metric", "before", "after", "gain", "counts from", "p Holm", "noise from", "verdict"]
    body = [
        [
            markdown(f.subject),
            markdown(f"{f.task} {f.metric}"),
            figure(f.before),
            figure(f.after),
            figure(f.gain),
            small(f.threshold if f.reach != f.reach else max(f.threshold, f.reach)),
            p_text(f.p_holm),
            _noise(f),
            f.verdict,
        ]
        for f in findings
    ]
    return tabulate(body, heads, tablefmt="github", disable_numparse=True)


def _noise(f: Finding) -> str:
    """`3 seeds` of training, `64 units`, or `1 unit`."""
    if f.seeds[1] > 1:
        return f"{f.seeds[1]} seeds" if f.seeds[0] == 1 else f"{f.seeds[1]} + {f.seeds[0]} seeds"
    return f"{f.units} unit{'s' if f.units != 1 else ''}"


def _what_decides(f: Finding) -> str:
    """`about 4 more training seeds of each would decide, were the true change the observed one`."""
    if f.needs is None:
        return "more units would decide, how many is not known"
    return f"{f.needs} would decide, were the true change the observed one"


def _sentence(result: Check) -> str:
    n, total = len(result.regressions), len(result.findings)
    if n:
        return f"{n} regression{'s' if n > 1 else ''} beyond noise in {total} comparisons"
    if result.problems:
        return f"Not comparable: {len(result.problems)} reason{'s' if len(result.problems) > 1 else ''}"
    open_ = f", {len(result.undecided)} undecided" if result.undecided else ""
    return f"No regression beyond noise in {total} comparisons{open_}"


def to_junit(result: Check) -> str:
    """JUnit XML: a test case a comparison, a failure a regression, an error whatever could not be compared.

    What is undecided or not tested is skipped, with the reason.
    """
    from xml.etree import ElementTree as xml

    skipped = [f for f in result.findings if f.verdict in ("not tested", "undecided")]
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
        case = xml.SubElement(suite, "testcase", classname=f"{f.task}.{f.metric}", name=one_line(f.subject))
        if f.verdict == "worse":
            words = f"{f.metric} went from {figure(f.before)} to {figure(f.after)} (Holm p {p_text(f.p_holm)})"
            failure = xml.SubElement(case, "failure", message=words, type="regression")
            reach = MISSING if f.reach != f.reach else f"{f.reach:.6g}"
            failure.text = f"gain {f.gain:.6g} within {reach}, counts from {f.threshold:.6g}, noise from {_noise(f)}"
        elif f.verdict == "undecided":
            xml.SubElement(case, "skipped", message=f"undecided: {_what_decides(f)}")
        elif f.verdict == "not tested":
            xml.SubElement(case, "skipped", message="fewer than two units to pair, without standard errors")
    for problem in result.problems:
        subject, _, reason = problem.partition(": ")
        case = xml.SubElement(suite, "testcase", classname="comparable", name=one_line(subject))
        xml.SubElement(case, "error", message=reason or problem, type="not comparable")
    xml.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + xml.tostring(root, encoding="unicode") + "\n"
