"""The attacks as a page: a verdict a metric, headlines of today beside those before, what each edit does to an SAE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tabulate import tabulate

from saebench_lite.audit.attack_edits import Attack
from saebench_lite.audit.attack_effects import JUDGE, MINIMAL, Effect, Outcome, Verdict, paid
from saebench_lite.audit.attack_tasks import COMPARED
from saebench_lite.report.numbers import MISSING, figure, interval_text

MARKS: dict[Verdict, str] = {"pays": " **pays**", "rises with recovery": " *r*"}


def markdown(outcome: Outcome, attacks: Sequence[Attack], saes: Sequence[str], command: str) -> str:
    """The page.

    Args:
        outcome: of the run.
        attacks: what was done.
        saes: names of the SAEs that were attacked.
        command: what made the page.
    """
    lines = [
        f"# Weight edits that should not pay, at {outcome.model}",
        "",
        f"SAEs: {', '.join(saes)}. Command: `{command}`.",
        "",
        "A cell is the mean change over SAEs and units, paired, with its 90 % interval (each end a one-sided 95 %",
        "bound); a rise is for the better, whatever the metric's direction. An edit **pays** where the metric rises,",
        f"by more than {MINIMAL} and with its bound above 0, while recovery of the true features does not (average",
        "precision of the best latent, chosen on other samples); *r*: both rise. There is no correction for the number",
        "of cells: it would only help the metrics.",
        "",
        *(f"- {a.name}: {a.meaning}" for a in attacks),
        "",
        "## Verdicts",
        "",
        _verdicts(outcome.effects),
        "",
        *_last_sentence(outcome),
        "",
        "## Headlines of today, those before, and the truth",
        "",
        _table(outcome.effects, COMPARED),
        "",
        "## What the edits do to an SAE",
        "",
        _means(outcome),
        "",
    ]
    rest = [e for e in outcome.effects if (e.task, e.metric) not in COMPARED]
    for task in dict.fromkeys(e.task for e in rest):
        heads = {(e.task, e.metric): e.metric for e in rest if e.task == task}
        lines += [f"## Others shown of {task}", "", _table(rest, heads), ""]
    return "\n".join([*lines, *_refused(outcome)]).rstrip() + "\n"


def _refused(outcome: Outcome) -> list[str]:
    """One line for each SAE and reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for r in outcome.refused:
        reasons.setdefault((r.sae, r.reason), []).append(r.attack)
    lines = [f"- {sae} ({', '.join(attacks)}): {reason}" for (sae, reason), attacks in reasons.items()]
    return ["## Left out", "", *lines] if lines else []


def _means(outcome: Outcome) -> str:
    """Before and after each edit."""
    heads = list(dict.fromkeys(m for of in outcome.means.values() for m in of))
    rows = [
        [attack, *(" → ".join(map(figure, of[m])) if m in of else MISSING for m in heads)]
        for attack, of in outcome.means.items()
    ]
    return tabulate(rows, ["edit", *(h.replace("_", " ") for h in heads)], tablefmt="github", disable_numparse=True)


def _verdicts(effects: Sequence[Effect]) -> str:
    """A row a metric."""
    of: dict[tuple[str, str], list[Effect]] = {}
    for e in effects:
        if e.task != "recovery":
            of.setdefault((e.task, e.metric), []).append(e)
    rows = [[f"{task} {metric}", figure(mine[0].before), paid(mine)] for (task, metric), mine in of.items()]
    return tabulate(rows, ["metric", "before", "verdict"], tablefmt="github", disable_numparse=True)


def _last_sentence(outcome: Outcome) -> list[str]:
    """What the truth says of the edits, or why it says nothing."""
    truth = [e for e in outcome.effects if (e.task, e.metric) == ("recovery", JUDGE)]
    if not truth:
        return ["No true features are known here: the edits add no knowledge by construction, so that any rise pays."]
    risen = [f"{e.attack} ({interval_text(*e.change)})" for e in truth if e.change.rises]
    return [f"Recovery of the true features rises under {', '.join(risen) or 'none of the edits'}."]


def _table(effects: Sequence[Effect], heads: Mapping[tuple[str, str], str]) -> str:
    """Edits by metrics, the level before them first; metrics without any effect are left out."""
    at = {(e.attack, e.task, e.metric): e for e in effects}
    shown = [key for key in heads if any((e.task, e.metric) == key for e in effects)]
    before = [figure(next(e.before for e in effects if (e.task, e.metric) == key)) for key in shown]
    attacks = dict.fromkeys(e.attack for e in effects)
    rows = [["none", *before], *([a, *(_cell(at.get((a, *key))) for key in shown)] for a in attacks)]
    return tabulate(rows, ["edit", *(heads[key] for key in shown)], tablefmt="github", disable_numparse=True)


def _cell(effect: Effect | None) -> str:
    if effect is None:
        return MISSING
    return interval_text(*effect.change) + MARKS.get(effect.verdict, "")
