"""A comparison of two subjects as text: a GitHub table, a table as wide as a terminal, and one sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from textwrap import wrap

from saebench_lite.records.metric import ARROWS
from saebench_lite.records.verdicts import mark, marks_explained
from saebench_lite.report.compare import Comparison
from saebench_lite.report.markup import markdown, one_line
from saebench_lite.report.numbers import INDEPENDENT, OWN_TEXTS, figure, p_text, span_text
from saebench_lite.stats.intervals import SHOWN_FROM

LEVEL = 0.05
WIDTH = 98
"Characters of a line of sentences on a terminal."


def verdict(row: Comparison) -> str:
    """Whether a is `better` or `worse` than b (Holm at 5 %), or it is `undecided`.

    `too few units` where there is no test, `no direction` for such a metric.
    """
    if row.better == "neither":
        return "no direction"
    if row.p_holm is None:
        return "too few units"
    if row.p_holm > LEVEL:
        return "undecided"
    return "better" if (row.paired.difference > 0) != (row.better == "lower") else "worse"


def sentence(rows: Sequence[Comparison], a: str) -> str:
    """`topk is better in 3 metrics, worse in 1, undecided in 9 (Holm, 5 %).`, and how many are not among these and why.

    `a` is the name of the first subject, as it is to be shown.
    """
    n = Counter(verdict(r) for r in rows if r.repeats is None)
    apart = f"; {n['too few units']} not tested (too few units)" if n["too few units"] else ""
    apart += f"; {n['no direction']} without direction" if n["no direction"] else ""
    metrics = "metric" if n["better"] == 1 else "metrics"
    told = f"better in {n['better']} {metrics}, worse in {n['worse']}, undecided in {n['undecided']}"
    return f"{a} is {told} (Holm, {100 * LEVEL:g} %){apart}."


def to_text(rows: Sequence[Comparison], missing: Sequence[str], a: str, b: str) -> str:
    """The comparison as a GitHub table with its legend.

    Args:
        rows: the comparisons.
        missing: one sentence for each that could not be made.
        a: name of the first subject.
        b: name of the second subject.
    """
    from tabulate import tabulate

    body = []
    for r in rows:
        span = "" if r.paired.low is None else f" [{figure(r.paired.low)}, {figure(r.paired.high or 0.0)}]"
        ratio = "–" if not r.mrd else f"{abs(r.paired.difference) / r.mrd:.1f}"
        p = [p_text(x) for x in (r.paired.p, r.paired.p_permutation, r.p_holm)]
        numbers = [figure(r.a), figure(r.b), figure(r.paired.difference) + span]
        body.append([markdown(_name(r, rows)), *numbers, *p, ratio, _wtl(r)])
    a, b = markdown(a), markdown(b)
    heads = ["metric", a, b, "difference [95 %]", "p bootstrap", "p sign flips", "p Holm"]
    heads += [markdown("|diff| / MRD"), "w/t/l"]
    lines = [tabulate(body, heads, tablefmt="github", disable_numparse=True), ""]
    lines += [
        f"Difference: {a} minus {b} over the same units and seeds. Holm over the rows of this table. MRD: least"
        " difference that new seeds, and new test texts where their errors are known, do not explain (– where seeds"
        " change no digit, the task draws no random numbers or it ran on one seed)."
        f" w/t/l: units won, tied and lost by {a}; a tie is a difference within the unit's own seed noise.",
    ]
    if any(r.paired.n == 1 and r.paired.p is not None for r in rows):
        lines += [f"One unit: interval and p-value are over its test texts. {INDEPENDENT}."]
    lines += [f"{told}." for told in few_units(rows)]
    lines += [markdown(told) for told in (*on_common_units(rows), *repeated(rows), *_explained(rows))]
    lines += [f"not compared: {markdown(m)}" for m in missing]
    return "\n".join([*lines, "", sentence(rows, a)]) + "\n"


def to_terminal(rows: Sequence[Comparison], missing: Sequence[str], a: str, b: str) -> str:
    """The comparison for a terminal: subjects are called A and B, intervals are half widths; the sentence at the end.

    Args:
        rows: the comparisons.
        missing: one sentence for each that could not be made.
        a: name of the first subject.
        b: name of the second subject.
    """
    from tabulate import tabulate

    body = []
    for r in rows:
        half = "" if r.paired.low is None else f" ±{figure(((r.paired.high or 0.0) - r.paired.low) / 2)}"
        body.append(
            [
                one_line(_name(r, rows)),
                figure(r.a),
                figure(r.b),
                figure(r.paired.difference) + half,
                p_text(r.p_holm),
                _wtl(r),
            ]
        )
    a, b = one_line(a), one_line(b)
    heads = ["metric", "A", "B", "A-B ±95 %", "p Holm", "w/t/l"]
    table = tabulate(body, heads, tablefmt="simple", disable_numparse=True)
    lines = [f"A: {a}", f"B: {b}", "", table, "", "w/t/l: units won, tied and lost by A."]
    lines += [part for told in few_units(rows) for part in wrap(f"{told}.", WIDTH)]
    told = [*on_common_units(rows), *repeated(rows), *_explained(rows)]
    lines += [part for line in told for part in wrap(one_line(line), WIDTH)]
    lines += [f"not compared: {one_line(m)}" for m in missing]
    return "\n".join([*lines, sentence(rows, a)]) + "\n"


def few_units(rows: Sequence[Comparison]) -> list[str]:
    """Why rows of few units have no p-value, and what their intervals are over; empty where there are none."""
    out = []
    if any(r.paired.n < 2 and r.paired.p is None for r in rows):
        out.append("One unit without a standard error over test texts, or none, is too few for an interval and a test")
    few = [r for r in rows if 1 < r.paired.n < SHOWN_FROM]
    if not few:
        return out
    least, most = min(r.paired.n for r in few), max(r.paired.n for r in few)
    told = f"{span_text(least, most)} units are too few (from {SHOWN_FROM}) for an interval over them and for a test"
    told += " other than sign flips"
    over = f": where one stands, it is over their {OWN_TEXTS}" if any(r.paired.low is not None for r in few) else ""
    return [*out, told + over]


def on_common_units(rows: Sequence[Comparison]) -> list[str]:
    """Which metrics have values on other units for a than for b, and on how many they are compared."""
    return [
        f"{_name(r, rows)}: compared at the units and seeds where both have a value; units: {r.paired.n},"
        f" of A {r.units[0]}, of B {r.units[1]}."
        for r in rows
        if r.units is not None
    ]


def repeated(rows: Sequence[Comparison]) -> list[str]:
    """Which rows are one comparison, for their values are the same, and count once."""
    out = []
    for i, first in enumerate(rows):
        alike = [_name(r, rows) for r in (first, *(r for r in rows if r.repeats == i))]
        if len(alike) > 1:
            out.append(f"{', '.join(alike)}: the same values in every unit; counted once, by Holm and below.")
    return out


def _name(row: Comparison, rows: Sequence[Comparison]) -> str:
    """`task metric ↑`, with the variant where a task has several, a mark where the audit does not pass it, and what
    tells its site and data from those of other rows.
    """
    several = len({r.variant for r in rows if r.task == row.task}) > 1
    task = f"{row.task} [{row.variant}]" if several else row.task
    name = f"{task} {row.metric} {ARROWS[row.better]}".strip() + mark(row.verdict)
    return f"{name} · {row.site}" if row.site else name


def _explained(rows: Sequence[Comparison]) -> list[str]:
    """What marks and codes of settings behind names mean."""
    codes = {
        f"[{r.variant}]: {r.task}, {r.settings}." for r in rows if r.settings and f"[{r.variant}]" in _name(r, rows)
    }
    return [told for told in (marks_explained(r.verdict for r in rows), *sorted(codes)) if told]


def _wtl(row: Comparison) -> str:
    return "/".join(str(c) for c in row.counts)
