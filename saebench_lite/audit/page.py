"""The panel's audit as a page: plain words, one table, details. Reads what was judged, measures nothing."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from saebench_lite.audit.constructs import Interval
from saebench_lite.audit.judge import BAR, COMPOSED, HEADLINE, RIVALS, TRUTHS, Lead, Panel, Row, by_sae
from saebench_lite.report.numbers import MISSING, figure


def markdown(
    rows: Sequence[Row],
    panel: Panel,
    leads: Sequence[Lead],
    world: str,
    command: str,
    drawn: Sequence[tuple[str, str]] = (),
) -> str:
    """The audit as a Markdown page.

    Args:
        rows: judged metrics.
        panel: the SAEs they were judged on.
        leads: of the headline over its rivals.
        world: its name.
        command: what made the page.
        drawn: figures as (caption, file beside the page).
    """
    lines = [
        f"# Metrics on trained SAEs of the world {world}",
        "",
        f"Command: `{command}`.",
        "",
        *_plainly(rows, panel, leads),
        "",
        _main_table(rows),
        "",
        "answer: whether a metric that claims recovery follows the truth within L0; of the others, not judged by it,",
        "whether they are evidence of feature quality all the same. mcc: correlation with that truth alone. L0:",
        "correlation with L0 at fixed architecture. sd: over L0 levels, in sds of the noise. above: share of SAEs",
        "above their own random dictionary, * if the oracle is not above every SAE.",
        "",
        *(line for caption, file in drawn for line in (f"![{caption}]({file})", "", f"{caption}.", "")),
        "## How it was asked",
        "",
        *_how(),
        "",
        f"## How much further {' '.join(HEADLINE)} follows the truth",
        "",
        "Difference of the correlations within L0 levels, the same architectures drawn for both.",
        "",
        _table(["rival", "composite", "mcc"], [[r.rival, _interval(r.composite), _interval(r.mcc)] for r in leads]),
        "",
        "## Every metric",
        "",
        _details(rows),
        "",
        "## The SAEs",
        "",
        _saes(panel),
    ]
    return "\n".join(lines) + "\n"


def _plainly(rows: Sequence[Row], panel: Panel, leads: Sequence[Lead]) -> list[str]:
    """What came out, in sentences."""
    claimed = [r for r in rows if r.verdict]
    count = {a: sum(r.verdict == a for r in claimed) for a in ("follows", "does not", "open")}
    levels, architectures = panel.roles.levels, list(panel.roles.grid)
    lines = [
        f"{len(panel.roles.trained)} SAEs were trained: {len(architectures)} architectures"
        f" ({', '.join(architectures)})",
        f"at L0 {', '.join(map(str, levels))}. Does a metric order the architectures of one L0 as the truth does? Of",
        f"{len(claimed)} metrics that claim recovery {count['follows']} follow it (interval above {BAR}),",
        f"{count['does not']} do not (interval below), {count['open']} are open:"
        f" {len(architectures)} architectures tell little.",
    ]
    if panel.roles.off_level:
        missed = ", ".join(f"{name} ({l0:.3g})" for name, l0 in sorted(panel.roles.off_level.items()))
        lines.append(f"Left out with the rest of their architecture, for their L0 is not the one asked for: {missed}.")
    head = next((r for r in rows if (r.task, r.metric) == HEADLINE), None)
    if head is not None:
        lines.append(f"The headline {head.name} has {_interval(head.within)}: {head.verdict or head.evidence}.")
    ahead = [r.rival for r in leads if r.composite.low > 0]
    behind = [r.rival for r in leads if r.composite.high < 0]
    if leads:
        lines.append(f"Beyond the interval it is ahead of {_listed(ahead)} and behind {_listed(behind)}.")
    known = [r.name for r in rows if r.evidence == "yes"]
    lines.append(f"Of what claims something else, evidence of feature quality: {_listed(known)}.")
    return lines


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _how() -> list[str]:
    return [
        f"- composite truth: mean rank of an SAE by {', '.join(COMPOSED)}, none of which reads a threshold at 0;",
        f"  shown apart are {' and '.join(t for t in TRUTHS if t not in COMPOSED)}, which do;",
        "- within L0: Spearman's correlation over the architectures at one L0 level, mean over levels; trained SAEs;",
        "- intervals (95 %) draw architectures with replacement, each with its SAEs at all levels;",
        f"- follows: the interval lies above {BAR}; does not: below; open: across;",
        "- noise: sd over evaluation seeds (where seeds agree or there are none: standard error over units) as a share",
        "  of the span from the mean random dictionary to the oracle; resolves: sd over the architectures at one level",
        "  in sds of the noise;",
        "- growth: Spearman's correlation with the training step, mean over the trainings followed;",
        "- scores are turned so that higher is better: lower-is-better metrics are negated, ratios whose best is 1",
        "  become -|value - 1|.",
    ]


def shown(rows: Sequence[Row]) -> list[Row]:
    """What leaderboards show unasked, and rivals of the headline, in the order of all rows."""
    return [r for r in rows if r.shown or (r.task, r.metric) in (HEADLINE, *RIVALS)]


def _main_table(rows: Sequence[Row]) -> str:
    body = [
        [
            r.name,
            r.construct or MISSING,
            r.verdict or r.evidence or MISSING,
            _interval(r.within),
            _number(r.by_truth["mcc"].value),
            _number(r.with_l0),
            _ratio(r.power),
            _share(r),
        ]
        for r in shown(rows)
    ]
    return _table(["metric", "claims", "answer", "within L0 [95 %]", "mcc", "L0", "sd", "above"], body)


def _details(rows: Sequence[Row]) -> str:
    heads = ["metric", "claims", "answer", "composite", *TRUTHS, "L0", "noise", "power", "resolves", "growth", "above"]
    body = [
        [
            r.name,
            r.construct or MISSING,
            r.verdict or r.evidence or MISSING,
            _interval(r.within),
            *(_number(r.by_truth[t].value) for t in TRUTHS),
            _number(r.with_l0),
            _number(r.noise, 3),
            _ratio(r.power),
            _ratio(r.resolves),
            _number(r.growth),
            _share(r),
            MISSING if r.oracle is None else figure(r.oracle),
            MISSING if r.control is None else figure(r.control),
        ]
        for r in rows
    ]
    return _table([*heads, "oracle", "random"], body)


def _saes(panel: Panel) -> str:
    body = [[n, figure(l0), *(figure(truths[t]) for t in TRUTHS)] for n, l0, truths in by_sae(panel)]
    return _table(["SAE", "L0", *TRUTHS], body)


def _share(row: Row) -> str:
    if row.above_control is None:
        return MISSING
    return f"{row.above_control:.2f}" + ("" if row.oracle_first else " *")


def _number(value: float | None, digits: int = 2) -> str:
    return MISSING if value is None or value != value else f"{value:.{digits}f}"


def _ratio(value: float | None) -> str:
    return _number(value, 1 if value is not None and value < 10 else 0)


def _interval(x: Interval) -> str:
    return f"{_number(x.value)} [{_number(x.low)}, {_number(x.high)}]"


def _table(heads: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    return tabulate(body, heads, tablefmt="github", disable_numparse=True)
