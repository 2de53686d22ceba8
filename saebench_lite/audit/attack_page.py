"""The attacks as a page: what each does to width, L0 and reconstruction and to every metric, marked where it pays."""

from __future__ import annotations

from collections.abc import Sequence

from tabulate import tabulate

from saebench_lite.audit.attack_edits import Attack
from saebench_lite.audit.attack_effects import MINIMAL, Effect, Outcome, Verdict
from saebench_lite.report.numbers import MISSING, figure, interval_text

ALL = 6
"Metrics up to which a task's table shows all; of a task with more it shows the headlines."
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
        "of cells.",
        "",
        *(f"- {a.name}: {a.meaning}" for a in attacks),
        "",
        "## What the edits do to an SAE",
        "",
        _means(outcome),
        "",
    ]
    for task in dict.fromkeys(e.task for e in outcome.effects):
        lines += [f"## {task}", "", *_task([e for e in outcome.effects if e.task == task]), ""]
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


def _task(effects: Sequence[Effect]) -> list[str]:
    """A task's table, and in one line the metrics outside it that an edit pays in."""
    metrics = list(dict.fromkeys(e.metric for e in effects))
    headline = [m for m in metrics if any(e.headline for e in effects if e.metric == m)]
    shown = metrics if len(metrics) <= ALL else headline
    attacks = dict.fromkeys(e.attack for e in effects)
    at = {(e.attack, e.metric): e for e in effects}
    rows: list[list[str]] = [["none", *(figure(next(e.before for e in effects if e.metric == m)) for m in shown)]]
    rows += [[a, *(_cell(at.get((a, m))) for m in shown)] for a in attacks]
    lines = [tabulate(rows, ["edit", *shown], tablefmt="github", disable_numparse=True)]
    others = [
        f"{e.metric} ({e.attack}, {figure(e.change.mean)})"
        for e in effects
        if e.metric not in shown and e.verdict == "pays"
    ]
    return [*lines, "", f"Others in which an edit pays: {', '.join(others)}."] if others else lines


def _cell(effect: Effect | None) -> str:
    if effect is None:
        return MISSING
    return interval_text(*effect.change) + MARKS.get(effect.verdict, "")
