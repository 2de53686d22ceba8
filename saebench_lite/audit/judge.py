"""Does a metric follow recovery in a panel of trained SAEs? Pure: reads records, trains and evaluates nothing.

The question is asked within levels of L0, over architectures, because truth and metrics both go with L0. An answer has
an interval over architectures and is left open where that straddles the bar; few architectures leave much open. Only a
metric that claims recovery is judged by the answer; of the others it says whether they are evidence of feature quality.
Controls, oracle, growth with training and noise stand apart (Chanin, arXiv:2605.18229, for these lenses).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from saebench_lite.audit.constructs import Interval
from saebench_lite.audit.roles import SubjectRoles, roles_of
from saebench_lite.audit.scores import SignedScore, noise_sd, signed_score
from saebench_lite.audit.within import Site, composite, leads, pooled, spreads, within
from saebench_lite.records.record import Record
from saebench_lite.stats.rank_correlation import spearman

COMPOSED = ("mcc", "feature_ap", "feature_tuned_f1")
"Truths that do not read where a code is 0; the composite is their mean rank."
TRUTHS = (*COMPOSED, "feature_f1", "f1")
BAR = 0.5
"Rank correlation with the composite truth within L0 levels that is asked."
HEADLINE = ("sparse_probing", "average_precision_max")
RIVALS = (
    ("sparse_probing", "average_precision_mean"),
    ("sparse_probing", "accuracy_k1_mean"),
    ("sparse_probing", "accuracy_k5_mean"),
    ("sparse_probing", "auroc_k1_mean"),
    ("sparse_probing", "auroc_k16_last"),
    ("concept_detection", "auroc"),
    ("rival_scores", "rare_f1"),
    ("rival_scores", "rare_correlation"),
)
"Of SAEBench (accuracy), sae-probes (AUROC of 16 latents, last token), AxBench (concept_detection), and earlier ones."

Answer = Literal["follows", "does not", "open"]
Evidence = Literal["yes", "no", "open"]
_EVIDENCE: dict[Answer, Evidence] = {"follows": "yes", "does not": "no", "open": "open"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One metric; None where a figure cannot be had. Scores are turned so that higher is better."""

    task: str
    version: int
    metric: str
    headline: bool
    shown: bool
    "Whether a leaderboard shows it unasked."
    construct: str | None
    verdict: Answer | None
    "None for a metric that does not claim recovery."
    evidence: Evidence | None
    "Whether such a metric is evidence of feature quality all the same; None for the others."
    within: Interval
    "Mean over L0 levels of Spearman's correlation with the composite truth over architectures."
    by_truth: dict[str, Interval]
    "The same with each truth alone."
    with_l0: float
    "Spearman correlation with L0 over the levels of one architecture, mean over architectures."
    noise: float | None
    "Sd over evaluation seeds (without seeds: standard error over units) over the span from mean control to oracle."
    power: float | None
    "Sd over the L0 levels of one architecture over that noise; root mean square over architectures."
    resolves: float | None
    "Sd over the architectures at one level over that noise; root mean square over levels."
    growth: float | None
    "Spearman correlation with the training step, mean over the trainings followed."
    above_control: float | None
    "Share of trained SAEs above their own random dictionary."
    oracle_first: bool | None
    "Whether the oracle is above every trained SAE."
    oracle: float | None
    control: float | None
    "Mean of the random dictionaries."
    values: dict[str, float] = field(default_factory=dict)
    "By subject."

    @property
    def name(self) -> str:
        """Task and metric."""
        return f"{self.task} {self.metric}"


class Panel(NamedTuple):
    """Truths of the trained SAEs."""

    roles: SubjectRoles
    truths: dict[str, np.ndarray]
    "{truth: [levels, architectures]}"
    composite: np.ndarray
    "[levels, architectures]"
    l0: np.ndarray
    "Measured, not asked for. [levels, architectures]"


def panel_of(records: Sequence[Record]) -> Panel:
    """Truths and L0 of the panel's trained SAEs."""
    roles = roles_of(records)
    scores = {(r.subject.name, r.task.name): r.scores for r in records if r.status == "ok"}

    def table(task: str, metric: str) -> np.ndarray:
        return on_grid(roles, {n: scores[n, task][metric].value for n in roles.trained if (n, task) in scores})

    truths = {t: table("truth", t) for t in TRUTHS}
    return Panel(roles, truths, composite([truths[t] for t in COMPOSED]), table("reconstruction", "l0"))


def by_sae(panel: Panel) -> list[tuple[str, float, dict[str, float]]]:
    """(name, measured L0, truths) of each trained SAE, levels ascending."""
    return [
        (names[i], float(panel.l0[i, j]), {t: float(y[i, j]) for t, y in panel.truths.items()})
        for i in range(len(panel.roles.levels))
        for j, names in enumerate(panel.roles.grid.values())
    ]


def on_grid(roles: SubjectRoles, values: Mapping[str, float]) -> np.ndarray:
    """Values by subject as [levels, architectures], NaN where missing."""
    return np.array([[values.get(n, np.nan) for n in names] for names in roles.grid.values()]).T


def judged(records: Sequence[Record]) -> list[Row]:
    """A row for every metric with a direction, those that claim recovery first, best first.

    Metrics that fewer than three architectures score at every level are left out.
    """
    panel = panel_of(records)
    by_metric: dict[tuple[str, str], dict[str, Record]] = {}
    for r in records:
        if r.status == "ok" and r.task.name != "truth":
            for metric, about in r.task.metrics.items():
                if about.better != "neither":
                    by_metric.setdefault((r.task.name, metric), {})[r.subject.name] = r
    rows = [_row(metric, of, panel) for (_, metric), of in by_metric.items()]
    return sorted((r for r in rows if r is not None), key=_place)


def _place(row: Row) -> tuple[bool, str, float, str]:
    """What rows are sorted by: claims of recovery first, then by claim, correlation and name."""
    return row.verdict is None, row.construct or "", -np.nan_to_num(row.within.value, nan=-2.0), row.name


def answer(interval: Interval) -> Answer:
    """Whether an interval lies above the bar, below it or across it; open where it has no ends."""
    if interval.low > BAR:
        return "follows"
    return "does not" if interval.high < BAR else "open"


def _row(metric: str, of: Mapping[str, Record], panel: Panel) -> Row | None:
    record = next(iter(of.values()))
    construct = record.task.metrics[metric].construct
    at = {n: signed_score(r, metric) for n, r in of.items()}
    values = {n: s.value for n, s in sorted(at.items())}
    x = on_grid(panel.roles, values)
    whole = np.isfinite(x).all(0)
    if whole.sum() < 3:
        return None
    x = x[:, whole]
    rho = {t: pooled([Site({metric: x}, y[:, whole])], [metric])[metric] for t, y in panel.truths.items()}
    overall = pooled([Site({metric: x}, panel.composite[:, whole])], [metric])[metric]
    told = answer(overall)
    noise = noise_sd([at[n] for n in panel.roles.trained if n in at])
    over_levels, over_architectures = spreads(x)
    oracle = values.get(panel.roles.oracle or "")
    pairs = [(values[n], values[c]) for n, c in panel.roles.controls.items() if n in values and c in values]
    control = float(np.mean([c for _, c in pairs])) if pairs else None
    span = abs(oracle - control) if oracle is not None and control is not None else 0.0
    recovery = construct == "recovery"
    return Row(
        task=record.task.name,
        version=record.task.version,
        metric=metric,
        headline=metric in record.task.headline,
        shown=metric in record.task.shown,
        construct=construct,
        verdict=told if recovery else None,
        evidence=None if recovery else _EVIDENCE[told],
        within=overall,
        by_truth=rho,
        with_l0=within(x.T, panel.l0[:, whole].T),
        noise=noise / span if noise is not None and span > 0 else None,
        power=over_levels / noise if noise else None,
        resolves=over_architectures / noise if noise else None,
        growth=_growth(at, panel.roles.trajectories),
        above_control=float(np.mean([v > c for v, c in pairs])) if pairs else None,
        oracle_first=None if oracle is None else bool(oracle > x.max()),
        oracle=oracle,
        control=control,
        values=values,
    )


def _growth(at: Mapping[str, SignedScore], trajectories: Sequence[Sequence[str]]) -> float | None:
    values = [
        spearman(np.arange(len(names), dtype=float), np.array([at[n].value for n in names]))
        for names in trajectories
        if all(n in at and np.isfinite(at[n].value) for n in names)
    ]
    values = [v for v in values if v == v]
    return float(np.mean(values)) if values else None


class Lead(NamedTuple):
    """How much further the headline follows the truth than one rival."""

    rival: str
    composite: Interval
    mcc: Interval


def headline_leads(rows: Sequence[Row], panel: Panel) -> list[Lead]:
    """Leads over the rivals that were scored on every SAE, within L0 levels, architectures drawn for both at once."""
    tables = {(r.task, r.metric): on_grid(panel.roles, r.values) for r in rows}
    known = {" ".join(k): tables[k] for k in (HEADLINE, *RIVALS) if k in tables and np.isfinite(tables[k]).all()}
    first = " ".join(HEADLINE)
    if first not in known:
        return []
    rivals = [name for name in known if name != first]
    by_composite, by_mcc = (leads([Site(known, y)], first, rivals) for y in (panel.composite, panel.truths["mcc"]))
    return [Lead(r, by_composite[r], by_mcc[r]) for r in rivals]
