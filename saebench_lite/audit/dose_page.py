"""The dose tables as a page. Reads what was judged, measures nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from tabulate import tabulate

from saebench_lite.audit.constructs import FLAT, LEVEL, MOVES, RHO, STILL, Cell, Row, what_is_asked
from saebench_lite.audit.dose_edits import DOSES, GRID
from saebench_lite.audit.dose_truths import QUANTITIES
from saebench_lite.report.numbers import MISSING

MARKS = {"passes": "", "misses": " **misses**", "open": " open"}


def markdown(
    command: str,
    rows: Sequence[Row],
    truths: Mapping[str, np.ndarray],
    series: Mapping[str, Sequence[int]],
    sections: Sequence[str] = (),
) -> str:
    """The page.

    Args:
        command: what made it.
        rows: judged metrics.
        truths: quantities of all dictionaries by name. [dictionaries] each
        series: dictionaries along each fault, the base first.
        sections: further text at the end.
    """
    headlines = [r for r in rows if r.headline]
    lines = [
        "# Metrics on an oracle with planted faults",
        "",
        f"Command: `{command}`. Doses {', '.join(f'{dose:g}' for dose in GRID)}.",
        "",
        *_how(),
        "",
        "## Faults",
        "",
        *(f"- {name}: {' '.join((DOSES[name].__doc__ or '').split())}" for name in series),
        "",
        "## True quantities, at dose 0 and at the last",
        "",
        _truths(truths, series),
        "",
        "## Verdicts",
        "",
        _verdicts(rows),
        "",
        "Hierarchy has its verdict under Planted absorption: with as few children as in this world absorption's",
        "definition calls the fault splitting, so that its rows below are no verdict.",
        "",
        "## Headlines",
        "",
        matrix(headlines),
        "",
        "## Other metrics",
        "",
        matrix([r for r in rows if not r.headline]),
        "",
        *sections,
    ]
    return "\n".join(lines)


def _how() -> list[str]:
    return [
        f"- asked to follow: where the construct's true quantity covers at least {MOVES:.0%} of its widest range over"
        f" all faults, the metric's Spearman correlation with it along the doses must reach {RHO};",
        f"- asked to be flat: where it covers at most {STILL:.0%}, the metric's change from dose 0 to the last must"
        f" stay within {FLAT:.0%} of the metric's widest range where it follows; in between nothing is asked"
        " (in brackets);",
        f"- intervals ({LEVEL:.0%}) over the metric's units drawn with replacement, the same in all dictionaries; a"
        " metric with one unit has none. A verdict is open where the interval straddles the bar;",
        "- a construct with several quantities is judged by the one that the metric misses in the fewest"
        " faults, then by the one it correlates with most over all dictionaries;",
        "- metrics are turned so that higher is better; one without a direction may follow either way.",
    ]


def _truths(truths: Mapping[str, np.ndarray], series: Mapping[str, Sequence[int]]) -> str:
    body = []
    for name, values in truths.items():
        asked = what_is_asked({f: values[list(at)] for f, at in series.items()})
        cells = []
        for fault, at in series.items():
            text = MISSING if values[at[-1]] != values[at[-1]] else f"{values[at[-1]]:.3f}"
            cells.append(f"**{text}**" if asked[fault] == "follow" else text)
        body.append([QUANTITIES[name].construct, name, f"{values[0]:.3f}", *cells])
    heads = ["construct", "quantity", "base", *series]
    return tabulate(body, heads, tablefmt="github", disable_numparse=True) + "\n\nBold: metrics must follow."


def _verdicts(rows: Sequence[Row]) -> str:
    body = [
        [
            f"{r.task} {r.metric}" + ("" if r.headline else " (beside)"),
            r.construct,
            r.judgement.quantity,
            f"{r.judgement.overall:.2f}",
            r.judgement.own,
            ", ".join(c.series for c in r.judgement.cells if c.asked == "follow" and c.verdict == "misses") or MISSING,
            r.judgement.others,
            ", ".join(c.series for c in r.judgement.cells if c.asked == "flat" and c.verdict == "misses") or MISSING,
        ]
        for r in rows
        if r.shown and r.construct != "hierarchy"
    ]
    heads = ["metric shown", "construct", "quantity", "overall", "follows", "not in", "flat", "moves in"]
    return tabulate(body, heads, tablefmt="github", disable_numparse=True)


def matrix(rows: Sequence[Row]) -> str:
    """Metric by fault: correlation with its interval where it must follow, change where it must be flat."""
    if not rows:
        return "None."
    faults = [c.series for c in rows[0].judgement.cells]
    body = [[f"{r.task} {r.metric}", r.judgement.quantity, *map(_cell, r.judgement.cells)] for r in rows]
    return tabulate(body, ["metric", "quantity", *faults], tablefmt="github", disable_numparse=True)


def _cell(cell: Cell) -> str:
    if cell.change is None:
        return MISSING
    if cell.rho is not None and cell.verdict is not None:
        ends = "" if cell.rho.low == cell.rho.high else f" [{cell.rho.low:.2f}, {cell.rho.high:.2f}]"
        return f"rho {cell.rho.value:.2f}{ends}{MARKS[cell.verdict]}"
    change = cell.change
    text = f"{change.value:+.3g}"
    if cell.verdict is None:
        return f"({text})"
    ends = "" if change.low == change.high else f" [{change.low:+.2g}, {change.high:+.2g}]"
    return text + ends + MARKS[cell.verdict]
