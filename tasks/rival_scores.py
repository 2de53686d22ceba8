"""Rival scores: candidates for a better probing metric that were tried and lost, kept so that the audit can show why.

Only at a site whose features are known. All read one latent a concept, mean-pooled codes, the splits of sparse_probing:
- ceiling_gap: (AUROC of the latent - 1/2) / (AUROC of logistic regression on the activations - 1/2). The latent is
  chosen on training rows and judged on test rows, so there is no winner's curse to correct;
- selectivity: its AUROC minus the mean |AUROC - 1/2| of the same latent for the other concepts (labels as controls);
- rare_ap: its average precision where one text in twenty is positive, of the latent that has the best on training rows;
- rare_f1: its F1 at the same prevalence, mean of "code is not 0" (rare_f1_fires) and of the code above a threshold
  tuned on training rows (rare_f1_tuned). Its first half measures L0 on long texts, and raised thresholds lift both;
- rare_correlation: its Pearson correlation with the label at the same prevalence (Oikarinen et al., arXiv:2506.05774,
  find correlation and average precision sound, AUROC and balanced accuracy not);
- ablation: how much of the supervised probe's margin between the classes goes when the latent is ablated on positives,
  minus the same for the latents closest in firing rate and written norm.

Where we differ from the papers: prevalence is set by weights instead of by drawing more negatives. Source: as above;
control labels after Hewitt & Liang, arXiv:1909.03368; matched ablation after arXiv:2605.18229's diagnosis of TPP.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from saebench_lite.activations.pooling import pooled_acts, pooled_codes
from saebench_lite.api.card import Card
from saebench_lite.api.context import EvalContext
from saebench_lite.api.settings import Count, Range, Settings
from saebench_lite.api.subject import Subject
from saebench_lite.api.task import Scores, Task
from saebench_lite.data.splits import distinct, split_of
from saebench_lite.errors import NotApplicable
from saebench_lite.metrics.classification import auroc, average_precision, best_rare_threshold, fires_rare_f1, rare_f1
from saebench_lite.probes.logistic import fit_logistic, standardise
from saebench_lite.probes.single_latent import PREVALENCE
from saebench_lite.records.metric import Metric
from saebench_lite.saes.protocol import decoder_of

_MEANINGS = {
    "ceiling_gap": "one latent's AUROC above chance over the supervised probe's",
    "selectivity": "its AUROC minus what it says of other concepts",
    "rare_ap": "its average precision at 5 % prevalence",
    "rare_f1": "mean of the two below",
    "rare_f1_fires": "F1 at 5 % prevalence of its code being other than 0",
    "rare_f1_tuned": "F1 at 5 % prevalence above a threshold tuned on training texts",
    "rare_correlation": "its correlation with the label at 5 % prevalence",
    "ablation": "share of the probe's margin lost with it, above matched latents",
}
CARD = Card(
    name="rival_scores",
    version=2,
    description="what the probing scores that lost the audit say",
    source="arXiv:2506.05774; arXiv:1909.03368; arXiv:2605.18229",
    headline=(),
    beside=("rare_correlation",),
    metrics=tuple(Metric(name=n, meaning=m, better="higher", construct="recovery") for n, m in _MEANINGS.items()),
    requires_ground_truth=True,
)
CHUNK = 256
"Latents whose training rows are sorted together."


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    max_train: Annotated[int, Range(2)] = 1024
    "Training rows per concept at most."
    matched: Count = 16
    "Latents an ablation is compared with."


class Problem(NamedTuple):
    name: str
    seed: int
    train: Tensor
    train_positive: Tensor
    test: Tensor
    test_positive: Tensor
    direction: Tensor
    "The supervised probe's. [d] float32"
    margin: float
    "Mean of the probe's scores on positives minus on negatives, training rows."
    ceiling: float
    "Its test AUROC."


def weights(positive: Tensor, prevalence: float) -> Tensor:
    """Row weights [n] float64 that sum to 1 and give the positives a share `prevalence`. positive [n] bool"""
    yes, no = prevalence / positive.sum(), (1 - prevalence) / (~positive).sum()
    return torch.where(positive, yes.double(), no.double())


def precision_of_columns(scores: Tensor, positive: Tensor, prevalence: float) -> Tensor:
    """Average precision [m] of columns [n, m] with labels [n] bool."""
    return average_precision(scores[positive].T, scores[~positive].T, prevalence)


def rare_f1_scores(train: Tensor, train_positive: Tensor, prevalence: float) -> Tensor:
    """`rare_f1` [m] on training rows, the threshold being the best one. train [n, m], train_positive [n] bool"""
    tuned, _ = best_rare_threshold(train, train_positive, prevalence)
    return (fires_rare_f1(train, train_positive, prevalence) + tuned) / 2


def rare_f1_figures(rows: Tensor, p: Problem, test: Tensor) -> dict[str, float]:
    """`rare_f1` and its halves on test rows, of the latent that has the best on training rows.

    rows [n, m], test [t, m]: pooled codes.
    """
    score = _by_chunk(lambda c: rare_f1_scores(c, p.train_positive, PREVALENCE), rows).float()
    best = int((score == score.max()).nonzero()[0])
    _, threshold = best_rare_threshold(rows[:, best : best + 1], p.train_positive, PREVALENCE)
    above, yes = test[:, best] > threshold, p.test_positive
    tuned = rare_f1(above[yes].double().mean(), above[~yes].double().mean(), PREVALENCE).item()
    fires = fires_rare_f1(test[:, best : best + 1], yes, PREVALENCE).item()
    return {"rare_f1": (fires + tuned) / 2, "rare_f1_fires": fires, "rare_f1_tuned": tuned}


def correlation(scores: Tensor, positive: Tensor, prevalence: float) -> Tensor:
    """Weighted Pearson correlation [m] of columns [n, m] with the label; 0 for a constant column."""
    w = weights(positive, prevalence)[:, None]
    x = scores.double()
    x = x - (w * x).sum(0)
    y = positive.double()[:, None] - prevalence
    spread = (w * x * x).sum(0) * (w * y * y).sum(0)
    return (w * x * y).sum(0) / spread.clamp(min=1e-30).sqrt()


def prepare(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> list[Problem]:
    if not ctx.data.datasets:
        raise NotApplicable(f"data source {ctx.data.name!r} has no labelled datasets")
    acts = ctx.acts(ctx.data.datasets[0].corpus)
    pooled = pooled_acts(acts, "mean", ctx.device)
    problems = []
    for labelled in map(distinct, ctx.data.datasets):
        for seed in seeds:
            split = split_of(labelled, seed, cfg.max_train)
            rows = [torch.as_tensor(labelled.rows[part], device=ctx.device) for part in split]
            labels = [torch.as_tensor(labelled.positive[part], device=ctx.device) for part in split]
            problems.append(
                Problem(labelled.name, seed, rows[0], labels[0], rows[1], labels[1], *_probe(pooled, rows, labels))
            )
    return problems


def _probe(pooled: Tensor, rows: list[Tensor], labels: list[Tensor]) -> tuple[Tensor, float, float]:
    """Direction, margin and test AUROC of a ridge-penalised logistic regression on the activations."""
    x, use = pooled[rows[0]][None].double(), torch.ones(1, len(rows[0]), device=pooled.device)
    columns, _, sd = standardise(x, use)
    fitted = fit_logistic(columns, labels[0][None], use, torch.full((1,), 0.01, device=pooled.device))
    direction = (fitted.weight / sd)[0].float()
    seen, judged = pooled[rows[0]] @ direction, pooled[rows[1]] @ direction
    margin = seen[labels[0]].mean() - seen[~labels[0]].mean()
    return direction, margin.item(), auroc(judged[labels[1]], judged[~labels[1]]).item()


@torch.no_grad()
def evaluate(subject: Subject, ctx: EvalContext, problems: list[Problem], cfg: Config, seeds: Sequence[int]) -> Scores:
    """Values of every metric for one subject.

    Args:
        subject: an SAE.
        ctx: the site.
        problems: one a data set and seed, from `prepare`.
        cfg: settings of the task.
        seeds: of the repetitions.
    """
    sae, out = subject.require_sae(), Scores()
    acts = ctx.acts(ctx.data.datasets[0].corpus)
    table = pooled_codes(sae, acts, ("mean",), memory=ctx.memory)["mean"]
    written = _written(table, decoder_of(sae))
    by_auroc = []
    for p in problems:
        rows, test = table[p.train], table[p.test]
        best = int(_by_chunk(lambda c, p=p: auroc(c[p.train_positive].T, c[~p.train_positive].T), rows).argmax())
        by_auroc.append(best)
        value = auroc(test[p.test_positive, best], test[~p.test_positive, best]).item()
        out.add("ceiling_gap", (value - 0.5) / max(p.ceiling - 0.5, 0.05), unit=p.name, seed=p.seed)
        for metric, score in (("rare_ap", precision_of_columns), ("rare_correlation", correlation)):
            chosen = int(_by_chunk(lambda c, s=score, p=p: s(c, p.train_positive, PREVALENCE), rows).argmax())
            judged = score(test[:, chosen : chosen + 1], p.test_positive, PREVALENCE).item()
            out.add(metric, judged, unit=p.name, seed=p.seed)
        for metric, figure in rare_f1_figures(rows, p, test).items():
            out.add(metric, figure, unit=p.name, seed=p.seed)
        if written is not None:
            out.add("ablation", _ablation(rows, p, written, cfg.matched), unit=p.name, seed=p.seed)
    _selectivity(table, problems, by_auroc, out)
    return out


def _by_chunk(score: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    return torch.cat([score(part) for part in rows.split(CHUNK, dim=1)])


class Written(NamedTuple):
    """What latents write, and how often."""

    decoder: Tensor
    "[m, d]"
    trait: Tensor
    "Log firing rate and log written norm. [m, 2]"


def _written(table: Tensor, decoder: Tensor | None) -> Written | None:
    if decoder is None:
        return None
    rate = (table != 0).float().mean(0)
    size = table.abs().mean(0) * decoder.norm(dim=1)
    return Written(decoder.float(), torch.stack([rate, size], 1).clamp(min=1e-8).log())


def _ablation(rows: Tensor, p: Problem, written: Written, matched: int) -> float:
    """Share of the margin that the best latent carries, less the mean of those closest to it in rate and norm."""
    mean = rows[p.train_positive].mean(0) - rows[~p.train_positive].mean(0)
    effect = mean * (written.decoder @ p.direction) / p.margin
    best = int(effect.argmax())
    distance = (written.trait - written.trait[best]).abs().sum(1)
    distance[best] = torch.inf
    near = distance.topk(min(matched, len(distance) - 1), largest=False).indices
    return (effect[best] - effect[near].mean()).item()


def _selectivity(table: Tensor, problems: list[Problem], chosen: list[int], out: Scores) -> None:
    for seed in dict.fromkeys(p.seed for p in problems):
        of_seed = [i for i, p in enumerate(problems) if p.seed == seed]
        columns = table[:, [chosen[i] for i in of_seed]]
        values = torch.stack(
            [
                auroc(
                    columns[problems[i].test][problems[i].test_positive].T,
                    columns[problems[i].test][~problems[i].test_positive].T,
                )
                for i in of_seed
            ]
        )  # [concepts, latents]
        others = (values - 0.5).abs()
        n = len(of_seed)
        for place, i in enumerate(of_seed):
            rest = (others[:, place].sum() - others[place, place]) / max(n - 1, 1)
            out.add("selectivity", (values[place, place] - rest).item(), unit=problems[i].name, seed=seed)


TASK = Task(CARD, Config, prepare, evaluate)
