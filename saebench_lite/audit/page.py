"""The audit as a page: grades, the figures behind them, plain probing against the headline, contradictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tabulate import tabulate

from saebench_lite.audit.correlations import contradictions
from saebench_lite.audit.duel import DuelRow, architectures, duel
from saebench_lite.audit.grade import BARS, FAILS, TRUTHS, Grade
from saebench_lite.audit.roles import SubjectRoles, roles_of
from saebench_lite.records.record import Record
from saebench_lite.report.numbers import MISSING, figure


def markdown(
    graded: Sequence[Grade],
    records: Sequence[Record],
    world: str,
    command: str,
    drawn: Sequence[tuple[str, str]] = (),
) -> str:
    """The audit as a Markdown page.

    Args:
        graded: metrics with their grades, best first.
        records: what the grades were made from.
        world: its name.
        command: what made the page.
        drawn: figures as (caption, file beside the page).
    """
    roles = roles_of(records)
    lines = [
        f"# Audit of the suite's metrics on the world {world}",
        "",
        f"{len(roles.trained)} SAEs of {len(roles.architectures)} architectures ({', '.join(roles.architectures)}),",
        f"the oracle, {len(roles.judged) - len(roles.trained) - 1} controls, {len(roles.trajectories)} trainings.",
        f"Command: `{command}`.",
        "",
        *_how(),
        "",
        "## Grades",
        "",
        _grades(graded),
        "",
        *(line for caption, file in drawn for line in (f"![{caption}]({file})", "", f"{caption}.", "")),
        "## Headline and plain probing",
        "",
        "Plain probing is AUROC of a probe on the k best latents. ahead: by how much the first headline's correlation",
        "with the truth is higher, with a 95 % interval over SAEs drawn with replacement; within: correlation among",
        "the variants of one architecture, mean over architectures; power: their spread over the noise.",
        "",
        _duel(duel(records, graded, roles)),
        "",
        "## Architectures at the world's own sparsity",
        "",
        "Published on SynthSAEBench-16k at L0 25 (arXiv:2602.14687; 200 M samples each): F1 Matryoshka .879, BatchTopK",
        ".732, JumpReLU .732, L1 .556, matching pursuit .446; explained variance .779, .792, .795, .765, .835.",
        "",
        _architectures(architectures(records, roles)),
        "",
        "## Oracle and controls",
        "",
        "Lower-is-better metrics are negated, ratios whose best is 1 are -|value - 1|.",
        "",
        _ends(graded),
        "",
        "## Contradictions",
        "",
        "Share of pairs of trained SAEs that two metrics order the opposite way.",
        "",
        _contradictions(graded, roles),
    ]
    return "\n".join(lines) + "\n"


def _duel(rows: Sequence[DuelRow]) -> str:
    heads = ["metric", "truth", "ahead", "within", "power"]
    body = [
        [
            f"sparse_probing {r.metric}",
            _number(r.truth),
            MISSING if r.ahead is None else f"{r.ahead[0]:.2f} [{r.ahead[1]:.2f}, {r.ahead[2]:.2f}]",
            _number(r.within),
            _number(r.power, 1),
        ]
        for r in rows
    ]
    return tabulate(body, heads, tablefmt="github", disable_numparse=True)


def _architectures(rows: Sequence[tuple[str, dict[str, float]]]) -> str:
    body = [[name, *(figure(v) for v in figures.values())] for name, figures in rows]
    heads = ["architecture", *rows[0][1]] if rows else []
    return tabulate(body, heads, tablefmt="github", disable_numparse=True)


def _how() -> list[str]:
    return [
        f"- truth: Spearman correlation with the mean rank by {', '.join(TRUTHS)}, over all SAEs, oracle and controls;"
        f" 95 % interval by bootstrap over them. Asked: {BARS['truth']}; below {FAILS} the metric fails (F).",
        f"- noise: sd over evaluation seeds, as a share of the span from best random control to oracle. Asked: at most"
        f" {BARS['noise']}.",
        f"- growth: Spearman correlation with the training step. Asked: {BARS['growth']}.",
        f"- power: sd between variants of one architecture over the noise. Asked: {BARS['power']}.",
        f"- settings: Spearman correlation with the same score at other k or pooling. Asked: {BARS['settings']}.",
        "- grade: A passes every lens that applies; each one missed costs a letter.",
    ]


def _number(value: float | None, digits: int = 2) -> str:
    return MISSING if value is None or value != value else f"{value:.{digits}f}"


def _grades(graded: Sequence[Grade]) -> str:
    heads = ["grade", "metric", "truth", *(f"by {t}" for t in TRUTHS), "noise", "growth", "power", "settings"]
    rows = [
        [
            g.grade,
            f"{g.task} {g.metric}",
            f"{_number(g.truth)} [{_number(g.truth_low)}, {_number(g.truth_high)}]",
            *(_number(g.by_truth[t]) for t in TRUTHS),
            _number(g.noise, 3),
            _number(g.growth),
            _number(g.power, 1),
            _number(g.settings),
        ]
        for g in graded
    ]
    return tabulate(rows, heads, tablefmt="github", disable_numparse=True)


def _ends(graded: Sequence[Grade]) -> str:
    def value(x: float | None) -> str:
        return MISSING if x is None else figure(x)

    def yes(x: bool | None) -> str:
        return MISSING if x is None else "yes" if x else "no"

    heads = ["metric", "oracle", "best SAE", "worst SAE", "best random control", "oracle first", "random last"]
    rows = [
        [
            f"{g.task} {g.metric}",
            value(g.oracle),
            value(g.best),
            value(g.worst),
            value(g.control),
            yes(g.oracle_first),
            yes(g.random_last),
        ]
        for g in graded
    ]
    return tabulate(rows, heads, tablefmt="github", disable_numparse=True)


def _contradictions(graded: Sequence[Grade], roles: SubjectRoles, most: int = 16) -> str:
    first = list(graded[:most])
    table = contradictions(np.array([[g.values.get(n, np.nan) for n in roles.trained] for g in first]))
    heads = ["metric", *(str(i) for i in range(1, len(first) + 1))]
    rows = [
        [f"{i}. {g.task} {g.metric}", *(_number(v) for v in row)]
        for i, (g, row) in enumerate(zip(first, table, strict=True), 1)
    ]
    return tabulate(rows, heads, tablefmt="github", disable_numparse=True)
