"""The outcome of a regression check for people: on a terminal, and as Markdown for a summary or a comment."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from textwrap import wrap

from saebench_lite.records.verdicts import mark, marks_explained
from saebench_lite.report.findings import Check, Finding
from saebench_lite.report.markup import markdown, one_line
from saebench_lite.report.numbers import MISSING, figure, p_text, small
from saebench_lite.report.recipe_test import RecipeTest

WIDTH = 98
"Characters of a line of sentences on a terminal."


def to_markdown(result: Check) -> str:
    """A summary: the verdict in a sentence, what changed, remarks, and all that was looked at, folded."""
    told = [f for f in result.findings if f.verdict not in ("ok", "not tested")]
    lines = [f"## {sentence(result)}", ""]
    if told:
        lines += [_table(told, markdown, "github"), ""]
    lines += [f"- {markdown(line)}" for line in (*reasons(result), *result.caveats, *result.notes)]
    explained = marks_explained(f.audit for f in result.findings)
    lines += ["", markdown(explained)] if explained else []
    if result.findings:
        every = _table(result.findings, markdown, "github")
        lines += ["", "<details><summary>all comparisons</summary>", "", every, "", "</details>"]
    return "\n".join(lines).rstrip() + "\n"


def to_text(result: Check, every: bool = False) -> str:
    """For a terminal: the verdict in a sentence, rows that are worse or undecided, why, and what these rows leave out.

    All rows and remarks if `every`.
    """
    told = result.findings if every else [f for f in result.findings if f.verdict in ("worse", "undecided")]
    lines = [sentence(result)]
    if told:
        lines += ["", _table(told, one_line, "simple")]
        explained = wrap(marks_explained(f.audit for f in told), WIDTH)
        lines += ["", *explained] if explained else []
    caveats = result.caveats if result.regressions or every else []
    notes = result.notes if every else list(dict.fromkeys(r for f in told for r in f.remarks))
    if why := [one_line(r) for r in (*reasons(result), *caveats, *notes)]:
        lines += ["", *why]
    hidden = len(result.notes) - len(notes) + len(result.caveats) - len(caveats)
    more = [_count(len(result.findings) - len(told), "more comparison"), _count(hidden, "remark")]
    if any(more):
        lines += ["", f"--all shows {' and '.join(filter(None, more))}."]
    return "\n".join(lines) + "\n"


def _count(n: int, thing: str) -> str:
    """`1 remark`, `2 remarks`; empty for none."""
    return f"{n} {thing}{'s' if n > 1 else ''}" if n else ""


def sentence(result: Check) -> str:
    """The verdict: `2 regressions beyond noise in 5 comparisons`."""
    n, changed, total = len(result.regressions), len(result.changed), len(result.findings)
    parts = [f"{n} regression{'s' if n > 1 else ''} beyond noise in {total} comparisons"] if n else []
    if changed:
        parts.append(f"{changed} SAE{'s' if changed > 1 else ''} not of the baselines' recipe")
    if parts:
        return ", ".join(parts)
    if result.problems:
        return f"Not comparable: {len(result.problems)} reason{'s' if len(result.problems) > 1 else ''}"
    open_ = f", {len(result.undecided)} undecided" if result.undecided else ""
    return f"No regression beyond noise in {total} comparisons{open_}"


def reasons(result: Check) -> Iterator[str]:
    """A line for each SAE that changed, each undecided comparison, each thing not comparable, and on margins too small
    for any loss; names as they are.
    """
    for r in result.changed:
        yield f"changed: {r.subject}: {what_moved(r)}"
    for f in result.undecided:
        yield f"undecided: {f.subject}: {f.task} {f.metric}: {what_decides(f)}"
    for problem in result.problems:
        yield f"not comparable: {problem}"
    yield from result.margins


def what_moved(r: RecipeTest) -> str:
    """Why an SAE is not one more of its recipe: the p-value and the metrics that moved most."""
    moved = ", ".join(
        f"{m.task} {m.metric} {figure(m.before)} → {figure(m.after)}"
        + (" (the same in all baselines)" if m.p == 0 else f" (p {p_text(m.p)})")
        for m in r.moved
    )
    over = f"p {p_text(r.p_holm)} over {r.metrics} metrics"
    return f"not one more SAE of its {r.seeds[1]} baselines' recipe ({over}): {moved}"


def what_decides(f: Finding) -> str:
    """`about 4 more training seeds of each would decide, were the true change the observed one`."""
    if f.needs is None:
        return "more units would decide, how many is not known"
    return f"{f.needs} would decide, were the true change the observed one"


def noise_from(f: Finding) -> str:
    """`3 seeds` of training, `64 units`, or `1 unit`."""
    if f.seeds[1] > 1:
        return f"{f.seeds[1]} seeds" if f.seeds[0] == 1 else f"{f.seeds[1]} + {f.seeds[0]} seeds"
    return f"{f.units} unit{'s' if f.units != 1 else ''}"


def _table(findings: Sequence[Finding], shown: Callable[[str], str], form: str) -> str:
    """Rows of findings.

    Args:
        findings: one a row.
        shown: makes text of foreign names.
        form: of tabulate.
    """
    from tabulate import tabulate

    heads = ["subject", "metric", "before", "after", "gain", "counts from", "p Holm", "verdict"]
    body = [
        [
            shown(f.subject),
            shown(f"{f.task} {f.metric}{mark(f.audit)}"),
            figure(f.before),
            figure(f.after),
            figure(f.gain),
            MISSING if f.counts_from is None else small(f.counts_from),
            p_text(f.p_holm),
            f.verdict,
        ]
        for f in findings
    ]
    if any(f.margin is not None for f in findings):
        heads.insert(5, "allowed")
        for row, f in zip(body, findings, strict=True):
            row.insert(5, MISSING if f.margin is None else small(f.margin))
    if form == "github":  # has room
        heads = [*heads, "noise from"]
        body = [[*row, noise_from(f)] for row, f in zip(body, findings, strict=True)]
    return tabulate(body, heads, tablefmt=form, disable_numparse=True)
