"""The outcome of a regression check for programs: JUnit XML, and the lists of the GitHub benchmark action.

The lists are those of `benchmark-action/github-action-benchmark`, tools customBiggerIsBetter and customSmallerIsBetter:
objects of name, unit, value, range and extra.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

from saebench_lite.records.record import rounded
from saebench_lite.report.findings import Check, Finding
from saebench_lite.report.markup import code_span, one_line
from saebench_lite.report.numbers import MISSING, figure, p_text
from saebench_lite.report.regression_text import noise_from, what_decides, what_moved

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


def to_junit(result: Check) -> str:
    """JUnit XML: a test case a comparison and a recipe, a failure a loss or change.

    What is not comparable is an error; what is undecided or not tested is skipped, with the reason.
    """
    from xml.etree import ElementTree as xml

    skipped = [f for f in result.findings if f.verdict in ("not tested", "undecided")]
    counts = {
        "name": "saebench-lite check",
        "tests": str(len(result.findings) + len(result.recipes) + len(result.problems)),
        "failures": str(len(result.regressions) + len(result.changed)),
        "errors": str(len(result.problems)),
        "skipped": str(len(skipped)),
    }
    root = xml.Element("testsuites")
    suite = xml.SubElement(root, "testsuite", counts)
    for f in result.findings:
        _outcome(xml.SubElement(suite, "testcase", classname=f"{f.task}.{f.metric}", name=one_line(f.subject)), f)
    for r in result.recipes:
        case = xml.SubElement(suite, "testcase", classname="recipe", name=one_line(r.subject))
        if r.changed:
            xml.SubElement(case, "failure", message=one_line(what_moved(r)), type="changed")
    for problem in result.problems:
        subject, _, reason = problem.partition(": ")
        case = xml.SubElement(suite, "testcase", classname="comparable", name=one_line(subject))
        xml.SubElement(case, "error", message=one_line(reason or problem), type="not comparable")
    xml.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + xml.tostring(root, encoding="unicode") + "\n"


def _outcome(case: Element, f: Finding) -> None:
    """Adds to a test case what is not passed."""
    from xml.etree import ElementTree as xml

    if f.verdict == "worse":
        words = f"{f.metric} went from {figure(f.before)} to {figure(f.after)} (Holm p {p_text(f.p_holm)})"
        failure = xml.SubElement(case, "failure", message=words, type="regression")
        reach = MISSING if f.reach != f.reach else f"{f.reach:.6g}"
        failure.text = f"gain {f.gain:.6g} within {reach}, counts from {f.threshold:.6g}, noise from {noise_from(f)}"
        failure.text = "\n".join((failure.text, *map(one_line, f.remarks)))
    elif f.verdict == "undecided":
        xml.SubElement(case, "skipped", message=f"undecided: {what_decides(f)}")
    elif f.verdict == "not tested":
        xml.SubElement(case, "skipped", message="fewer than two units to pair, without standard errors")


def to_benchmark(result: Check, which: Literal["bigger", "smaller"]) -> str:
    """JSON list of the new scores of metrics whose `bigger` or `smaller` values are better.

    A metric whose best is 1 is among the smaller ones, by its distance from 1.
    """
    rows = []
    for f in result.findings:
        if (f.better == "higher") != (which == "bigger"):
            continue
        distance = f.better == "one"
        row: dict[str, object] = {
            "name": code_span(f"{f.subject} / {f.task} {f.metric}{', distance from 1' if distance else ''}"),
            "unit": f.unit or "score",
            "value": rounded(abs(f.after - 1) if distance else f.after),
        }
        if f.reach == f.reach:
            row["range"] = f"± {f.reach:.3g}"
        before = abs(f.before - 1) if distance else f.before
        told = f"{f.verdict}, before {before:.6g}, p {p_text(f.p_holm)}, noise from {noise_from(f)}"
        row["extra"] = "; ".join((told, *map(code_span, f.remarks)))
        rows.append(row)
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
