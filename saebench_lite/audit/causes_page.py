"""The audit of causes as a page: how it was asked, what the groups know, a verdict a metric."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from saebench_lite.audit.causes import GROUPS, TRUTHS, Outcome, Ranks, Row
from saebench_lite.records.metric import ARROWS
from saebench_lite.report.numbers import MISSING, figure, interval_text
from saebench_lite.stats.intervals import SHOWN_FROM
from saebench_lite.worlds import spec as specs

SAID: dict[Ranks, str] = {"ranks": "**ranks**", "does not": "does not", "open": "open"}
KNOWLEDGE: dict[str, str] = {
    "oracle": "its latents are true features: their directions, and how strongly each is there",
    "trained": "trained on the world's activations alone",
    "soft-frozen": "the same trainings, but each decoder row is kept within a cosine of .8 of its random start",
    "untrained": "random directions, with the width and the L0 of a trained SAE",
}


def markdown(outcome: Outcome) -> str:
    """The page."""
    spec = specs.parse(outcome.world)
    count = {g: len(outcome.members[g]) for g in GROUPS}
    parts = [
        f"# Which scores rank dictionaries by what they know of planted causes, on `{outcome.world}`",
        "",
        f"Command: `{outcome.command}`",
        "",
        "## How it was asked",
        "",
        f"The world's activations are sums of {spec.features:,} known features. {spec.causes:,} of them, those that",
        "are there most often, are causes: the next token depends on nothing but which of these features are there.",
        "So it is known beforehand which of four groups of dictionaries, all of one width and about one L0, knows the",
        "causes better:",
        "",
        *(f"- **{g}** ({count[g]}): {KNOWLEDGE[g]}{'.' if g == GROUPS[-1] else ';'}" for g in GROUPS),
        "",
        "That the groups are what they are called can be checked, since the features are known:",
        "",
        _truth(outcome),
        "",
        "A score is asked for the same order. Each difference below is one group less the next, turned so that above 0",
        "is right, with its 95 % interval over the units of the score (concepts, blocks of texts, drawn latents); a",
        "unit's value is the mean over the SAEs of the group and over seeds. A score **ranks** if all three intervals",
        "lie above 0; it **does not** if one lies below 0; else the question is open, as it is of fewer than",
        f"{SHOWN_FROM} units, over which no interval is shown. There is no correction for the number of scores. The",
        "intervals do not hold what other trainings of the SAEs would change. Pairs in order is the share of pairs",
        "of single SAEs from two groups of which the one that knows more has the better score.",
        "",
        *_section("Headlines", [r for r in outcome.rows if r.headline]),
        *_section("Other scores", [r for r in outcome.rows if not r.headline]),
    ]
    if outcome.missing:
        parts += ["## No world twin", "", "Tasks that do not run on a world, and so were not asked:", ""]
        parts += [f"- {task}: {reason}" for task, reason in outcome.missing.items()]
    return "\n".join(parts).rstrip() + "\n"


def _truth(outcome: Outcome) -> str:
    meanings = {
        "mcc_calibrated": "directions matched (MCC, 0: random)",
        "feature_ap": "features detected (AP)",
        "feature_f1": "features detected by code > 0 (F1)",
    }
    rows = [[meanings[m], *(figure(of[g]) if g in of else MISSING for g in GROUPS)] for m in TRUTHS
            if (of := outcome.truth.get(m))]  # fmt: skip
    return tabulate(rows, ["truth", *GROUPS], tablefmt="github", disable_numparse=True)


def _section(title: str, rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    ranked = [f"{r.task} {r.metric}" for r in rows if r.verdict == "ranks"]
    heads = [
        "score",
        "claims",
        "units",
        *GROUPS,
        *(f"{s.above} − {s.below}" for s in rows[0].steps),
        "pairs in order",
        "verdict",
    ]
    cells = [
        [
            f"{r.task} {r.metric} {ARROWS[r.better]}".strip(),
            (r.construct or MISSING).replace("_", " "),
            str(r.units),
            *(figure(r.means[g]) for g in GROUPS),
            *(interval_text(s.difference, s.low, s.high) for s in r.steps),
            figure(r.in_order),
            SAID[r.verdict],
        ]
        for r in rows
    ]
    table = tabulate(cells, heads, tablefmt="github", disable_numparse=True)
    told = (
        f"Of {len(rows)} these rank all four groups: {', '.join(ranked)}." if ranked else f"None of {len(rows)} ranks."
    )
    return [f"## {title}", "", told, "", table, ""]
