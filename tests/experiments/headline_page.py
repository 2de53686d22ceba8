"""The page of the headline experiment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tabulate import tabulate

from saebench_lite.audit.constructs import Interval
from saebench_lite.probes.single_latent import PREVALENCE
from saebench_lite.report.numbers import MISSING, figure
from tests.experiments.headline_analysis import TRUTHS, Arranged, Figures, lead, pooled
from tests.experiments.headline_parts import ARCHITECTURES, SEEDS, SPARSITIES, STEPS, Site

WINNER = "average_precision_max"
RIVALS = {
    "rare_f1_mean": "the headline before, mean-pooled",
    "rare_f1_last": "the headline before, last token",
    "accuracy_k1_mean": "SAEBench",
    "accuracy_k5_mean": "SAEBench",
    "auroc_k16_last": "sae-probes",
    "auroc_k1_mean": "AUROC of one latent, mean-pooled",
    "best_auroc_max": "AxBench",
}
NAMES = {
    "average_precision": "average precision of the latent with the largest standardised difference",
    "auroc": "AUROC of the same latent",
    "tuned_f1": "F1 of the same latent at 5 % prevalence, threshold tuned on training rows",
    "firing_f1": "F1 of the same latent's firing at 5 % prevalence",
    "rare_f1": "the headline before: mean of both F1s, of the latent with the best such mean",
    "rare_ap": "average precision of the latent with the best on training rows",
    "coalition_f1": "F1 at 5 % prevalence of the union of up to three latents (coalition matching, arXiv:2606.24716)",
    "best_auroc": "AUROC of the latent with the best on training rows (AxBench, max-pooled)",
    "auroc_k1": "AUROC of a logistic probe on one latent",
    "auroc_k16": "AUROC of a logistic probe on 16 latents (sae-probes, last token)",
    "accuracy_k1": "accuracy of a logistic probe on one latent (SAEBench, mean-pooled)",
    "accuracy_k2": "on two",
    "accuracy_k5": "on five",
    "average_precision_k5": "average precision of a logistic probe on five latents",
}
ALWAYS_FIRES = 2 * PREVALENCE / (1 + PREVALENCE)
"F1 of a latent that is never 0."


class Scored(NamedTuple):
    """A site with its analysis."""

    site: Site
    arranged: Arranged
    figures: dict[str, Figures]


def floor(candidate: str) -> float:
    """What a score that says nothing has."""
    if "f1" in candidate:
        return ALWAYS_FIRES
    return PREVALENCE if "average_precision" in candidate or "rare_ap" in candidate else 0.5


def page(scored: Sequence[Scored], command: str) -> str:
    """Summary, leads of the winner, where it does not lead, controls, and a table for each site."""
    lines = ["# The headline of probing", "", *_about(scored, command), *_summary(scored), *_leads(scored)]
    lines += [*_beaten(scored), *_controls(scored), "", "## Each world and length of text", ""]
    for s in scored:
        lines += [*_site(s), ""]
    return "\n".join(lines).rstrip() + "\n"


def name_of(s: Scored) -> str:
    """World and length of text."""
    length = s.site.length
    return f"{s.site.world}, {length.tokens} tokens, persistence {length.persistence:g}"


def _about(scored: Sequence[Scored], command: str) -> list[str]:
    sizes = "; ".join(f"{name_of(s)}: {s.site.length.texts} texts, {s.site.concepts} concepts" for s in scored)
    legend = "; ".join(f"`{key}`: {text}" for key, text in NAMES.items())
    return [
        f"Made by `{command}`. In each world {len(ARCHITECTURES)} architectures ({', '.join(ARCHITECTURES)}) were"
        f" trained at {len(SPARSITIES)} L0 levels (multiples {', '.join(f'{m:g}' for m in SPARSITIES)} of the number of"
        f" features that fire) for {STEPS} steps; matching pursuit was left out for its cost. The worlds were drawn for"
        " this page, after the headline was chosen on another. Each score is the mean over concepts and"
        f" {len(SEEDS)} seeds of the split into training and test rows.",
        "",
        "Truths of an SAE: `mcc`; `best_ap` and `best_tuned_f1`, of the best latent for each frequent feature, token by"
        " token; `composite`, the mean rank of these three, none of which reads where a code is 0; and apart from them"
        " `feature_f1` and `f1`, which do. `best_ap` is the winner's own statistic on tokens, `best_tuned_f1` half of"
        " the former headline's: `mcc` alone is kin to no candidate.",
        "",
        f"Candidates, with the pooling as suffix: {legend}.",
        "",
        f"Sites: {sizes}.",
        "",
        '"Within L0" is the mean over levels of Spearman\'s correlation over architectures; intervals (95 %) draw'
        f" architectures. With {len(ARCHITECTURES)} of them they are rough, and one cell of a table is not evidence.",
        "",
    ]


def _summary(scored: Sequence[Scored]) -> list[str]:
    candidates = list(scored[0].figures)
    arranged = [s.arranged for s in scored]
    composite, mcc = (pooled(arranged, candidates, truth) for truth in ("composite", "mcc"))
    lengths = list(dict.fromkeys(s.site.length for s in scored))
    heads = ["candidate", *(f"{n.tokens}, {n.persistence:g}" for n in lengths), "all", "mcc, all", "rho with L0"]
    body = []
    for c in sorted(candidates, key=lambda c: -composite[c].value):
        by_length = [
            _mean([s.figures[c].within_level["composite"] for s in scored if s.site.length == n]) for n in lengths
        ]
        row = [c, *map(_number, by_length), _interval(composite[c]), _interval(mcc[c])]
        body.append([*row, _number(_mean([s.figures[c].with_l0 for s in scored]))])
    return [
        "## Correlation with the truth within L0 levels",
        "",
        "With the composite, mean over worlds, by tokens of a text and persistence; over all sites; the same with `mcc`"
        " alone; and the correlation of the score with L0.",
        "",
        _table(heads, body),
        "",
    ]


def _leads(scored: Sequence[Scored]) -> list[str]:
    arranged = [s.arranged for s in scored]
    by_truth = [lead(arranged, WINNER, list(RIVALS), truth) for truth in ("composite", "mcc")]
    body = [[c, what, *(_interval(by[c]) for by in by_truth)] for c, what in RIVALS.items()]
    heads = ["rival", "whose", "composite", "mcc"]
    return [f"## How much further `{WINNER}` follows the truth", "", _table(heads, body), ""]


def _beaten(scored: Sequence[Scored]) -> list[str]:
    lines = ["## Where it does not lead", ""]
    for truth in ("composite", "mcc"):
        for s in scored:
            own = s.figures[WINNER].within_level[truth]
            ahead = {c: f.within_level[truth] for c, f in s.figures.items() if f.within_level[truth] > own}
            listed = ", ".join(f"{c} {_number(v)}" for c, v in sorted(ahead.items(), key=lambda kv: -kv[1]))
            lines.append(f"- {truth}, {name_of(s)} ({_number(own)}): {listed or 'nothing is ahead'}")
    return [*lines, ""]


def _controls(scored: Sequence[Scored]) -> list[str]:
    heads = ["candidate", *(name_of(s) for s in scored)]
    body = [
        [c, *(f"{100 * s.figures[c].above_random:.0f} %{_oracle_mark(s, c)}" for s in scored)]
        for c in (WINNER, "average_precision_mean", "average_precision_last", *RIVALS)
    ]
    return [
        "## Trained above untrained",
        "",
        "Share of SAEs above a random dictionary of their width and L0; * the oracle is not above every SAE.",
        "",
        _table(heads, body),
    ]


def _oracle_mark(s: Scored, candidate: str) -> str:
    return "" if s.figures[candidate].oracle >= s.arranged.scores[candidate].mean(0).max() else " *"


def _site(s: Scored) -> list[str]:
    heads = [
        "candidate",
        *TRUTHS,
        "all: composite",
        "mcc",
        "one architecture",
        "rho(L0)",
        "minus random: within",
        "all",
    ]
    heads += ["resolves L0", "architectures", "oracle", "mean", "worst", "best random", "floor", "above random"]
    body = []
    for c, f in sorted(s.figures.items(), key=lambda kv: -kv[1].within_level["composite"]):
        row = [*(f.within_level[t] for t in TRUTHS), f.overall["composite"], f.overall["mcc"]]
        row += [f.within_architecture["composite"], f.with_l0, f.minus_random_within, f.minus_random_overall]
        ratios = [f"{r:.1f}" for r in (f.resolved_l0, f.resolved_architectures)]
        values = [figure(v) for v in (f.oracle, f.mean, f.worst, f.best_random, floor(c))]
        body.append([c, *map(_number, row), *ratios, *values, f"{100 * f.above_random:.0f} %"])
    return [
        f"### {name_of(s)}",
        "",
        "Within L0 with each truth; over all SAEs; over the L0 levels of one architecture, with the composite; with L0;"
        " of the score minus the random dictionary's, with the composite; spread over L0 and over architectures in"
        " standard deviations of a reseeded score; values.",
        "",
        _table(heads, body),
    ]


def _mean(values: Sequence[float]) -> float:
    finite = [v for v in values if np.isfinite(v)]
    return float(np.mean(finite)) if finite else float("nan")


def _number(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else MISSING


def _interval(p: Interval) -> str:
    return f"{_number(p.value)} [{_number(p.low)}, {_number(p.high)}]"


def _table(heads: list[str], body: list[list[str]]) -> str:
    return tabulate(body, heads, tablefmt="github", disable_numparse=True)
