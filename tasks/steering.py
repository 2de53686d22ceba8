"""Steering: does adding the latent of a concept to the model's activations make it write about the concept, fluently?

A direction v of norm 1 is added to the activation at every token of a neutral prompt and of what the model writes, at a
grid of strengths: shares of the median norm of activations at the site, the same for all directions. A continuation has
- presence: the chance that it holds the concept, by a bag-of-words classifier learned from texts that no direction was
  chosen on (its AUROC on test texts is `classifier_auroc`);
- fluency: perplexity of the unsteered model's own continuations over its perplexity, at most 1, both under the
  unsteered model; 0 for a degenerate one, of whose pairs of neighbouring tokens less than half are distinct.
quality: their harmonic mean, at the strength where it is largest on half of the prompts, measured on the other half.
- score: quality, less the mean of that of random directions of the same norms, each at the strength best for it. 0: no
  more than a random direction. above_null: the same in standard deviations of the random directions;
- matched_presence: presence at the strength that is best among those whose perplexity is at most `budget` times that of
  unsteered continuations, less the mean of that of random directions under the same bound;
- dose_response: Spearman correlation of strength, 0 included, and mean presence over the held-out prompts;
- output_score: (1 - best rank / V) times the largest probability of the 20 tokens that v raises most by itself, when
  it is added at the largest strength to a neutral prompt.
For an SAE v is a decoder row, by the setting `rule`: of the latent that detects the concept best (`detects`: largest
standardised difference of class means), or of the 20 best detectors the one with the largest output score (`writes`).
The rule is part of the record's settings, so that both stand in a table. For a baseline v is its fitted direction:
diff_in_means, a probe. prompting: quality without steering, with "A text about CONCEPT:" in front of the prompt.

On a world a concept is a frequent feature. Its texts are rows of samples in which it is switched on, beside rows
without it; each sample writes a token, drawn from the world's own readout. Prompts are rows of samples without any
concept; prompting: the feature is switched on in them. Writing is cheap there: more prompts (64) give sharper figures.

It does not measure whether the model still follows instructions, nor presence that needs more than words to be seen:
synonyms outside the training texts count for nothing, and a judge (`judge_model`) is the way to see them. Words at
other strengths, layers or lengths are not seen.

Sources: AxBench (Wu et al., arXiv:2501.17148) for the harmonic mean at the best strength; output score: Arad et al.,
arXiv:2505.20063; random directions and matched perplexity: arXiv:2602.06801, arXiv:2605.27681. Where we differ: a
classifier in place of a judge; no instructions; sampling by random numbers that all directions have in common.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from saebench_lite.api.card import Card
from saebench_lite.api.context import EvalContext
from saebench_lite.api.settings import Count, FileOrFolder, Range, Settings
from saebench_lite.api.subject import Subject
from saebench_lite.api.task import Reading, Scores, Task
from saebench_lite.errors import NotApplicable, SaebenchError
from saebench_lite.models.judge import open_judge
from saebench_lite.models.language_model import LanguageModel
from saebench_lite.records.metric import Metric
from saebench_lite.stats.seeds import derive_seed
from saebench_lite.tasks._steering_figures import Concept, Figures, Target, figures, presences
from saebench_lite.tasks._steering_runs import Writer, concepts_of, directions_of, target_of
from saebench_lite.tasks._steering_texts import TextWriter, datasets_of, prompts_of
from saebench_lite.tasks._steering_world import world_writer
from saebench_lite.worlds.model import WorldModel

_steers = partial(Metric, construct="causal_effect", better="higher")
_share = partial(_steers, lower_bound=0.0, upper_bound=1.0)

CARD = Card(
    name="steering",
    version=1,
    description="does adding a concept's direction make the model write about it, fluently?",
    source="AxBench, arXiv:2501.17148; output score: arXiv:2505.20063",
    headline=("score", "matched_presence", "degenerate"),
    metrics=(
        _steers(
            name="score",
            meaning="quality, less that of random directions of the same norm",
            lower_bound=-1.0,
            upper_bound=1.0,
            chance=0.0,
        ),
        _steers(
            name="matched_presence",
            meaning="presence at bounded perplexity, less that of random directions",
            lower_bound=-1.0,
            upper_bound=1.0,
            chance=0.0,
        ),
        _share(name="degenerate", meaning="share of continuations that repeat themselves", better="lower"),
        _steers(name="above_null", meaning="score in standard deviations of random directions", chance=0.0),
        _share(name="quality", meaning="harmonic mean of presence and fluency at the best strength, on other prompts"),
        _share(name="presence", meaning="chance that a continuation holds the concept"),
        _share(name="fluency", meaning="perplexity of unsteered continuations over that of steered ones"),
        _steers(
            name="dose_response",
            meaning="Spearman correlation of strength and presence",
            lower_bound=-1.0,
            upper_bound=1.0,
            chance=0.0,
        ),
        _share(name="output_score", meaning="how high and likely the tokens are that the direction raises"),
        _share(name="random_quality", meaning="quality of random directions", better="neither"),
        _share(name="prompting", meaning="quality of a prompt that names the concept, unsteered", better="neither"),
        _share(name="unsteered", meaning="presence without steering", better="neither"),
        _share(name="classifier_auroc", meaning="AUROC of the classifier on test texts", better="neither", chance=0.5),
        _share(name="judge_presence", meaning="mean rating of continuations by the judge, 0 to 1"),
    ),
    accepts=("sae", "probe"),
    requires_next_token=True,
    requires_words=True,
    on_request=("judge_presence",),
    default=False,
    seeded=False,
)

RATING = (
    "Does the text below have to do with {concept}? Answer with one digit alone: 0 if it does not, 1 if it mentions it,"
    " 2 if it is about it.\n\nText: {text}\n\nAnswer:"
)

ROOM = 16
"Tokens left for special ones and for the words that name a concept."


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    concepts: Count = 8
    "Data sets at most, evenly spaced (AxBench: 500)."
    prompts: Annotated[int, Range(2)] = 8
    "Neutral openings: half choose the strength, half are held out (AxBench: 10)."
    prompt_tokens: Count = 6
    "Tokens of an opening."
    new_tokens: Annotated[int, Range(2)] = 16
    "Tokens of a continuation (AxBench: 128)."
    strengths: tuple[Annotated[float, Range(0, open=True)], ...] = (0.1, 0.2, 0.4, 0.8)
    "Shares of the median norm of activations."
    random: Annotated[int, Range(2)] = 30
    "Random directions."
    rule: Literal["detects", "writes"] = "detects"
    "Which latent of an SAE stands for a concept."
    candidates: Count = 20
    "Best detectors of which `writes` takes the one with the largest output score."
    budget: Annotated[float, Range(1)] = 2.0
    "Largest perplexity, over that of unsteered continuations, for matched_presence."
    temperature: Annotated[float, Range(0)] = 1.0
    "Of sampling; 0: the most likely token."
    seed: int = 42
    "Of splits, prompts, random directions and sampling."
    judge_url: str = ""
    "Of an OpenAI-compatible server for judge_presence; its key is read from SAEBENCH_LITE_JUDGE_KEY."
    judge_model: FileOrFolder = ""
    "Its model, or without judge_url a Hugging Face model of this machine; empty: no judge."


class Shared(NamedTuple):
    """What all subjects of a site share."""

    writer: Writer
    sizes: Tensor
    "Norms at which directions are added. [s]"
    targets: list[Target]


@torch.no_grad()
def prepare(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> Shared:
    """Prompts, the continuations of random directions, and what they come to for each concept."""
    writer, concepts = _on_world(ctx, ctx.lm, cfg) if isinstance(ctx.lm, WorldModel) else _on_texts(ctx, cfg)
    norm = writer.acts(concepts[0].labelled.corpus).x.float().norm(dim=1).median().cpu()
    sizes = norm * torch.tensor(sorted(set(cfg.strengths)))
    generator = torch.Generator().manual_seed(derive_seed("steering random", cfg.seed))
    random = torch.randn(cfg.random, ctx.d_in, generator=generator)
    random /= random.norm(dim=1, keepdim=True)
    ctx.doing("steering: random directions")
    plain = writer.steered(random[:1], torch.zeros(1))[0]
    outcomes = writer.steered(random, sizes)
    return Shared(writer, sizes, [target_of(c, writer, plain, outcomes, cfg.budget) for c in concepts])


def _on_world(ctx: EvalContext, model: WorldModel, cfg: Config) -> tuple[Writer, list[Concept]]:
    """A world that writes, and concepts that are features of it."""
    if cfg.judge_model:
        raise NotApplicable(f"{model.name} writes no words; leave steering.judge_model out")
    writer, datasets = world_writer(ctx, model, cfg.concepts, cfg.prompts, cfg.new_tokens, cfg.temperature, cfg.seed)
    return writer, concepts_of(datasets, np.empty(0), cfg.seed)


def _on_texts(ctx: EvalContext, cfg: Config) -> tuple[Writer, list[Concept]]:
    """A language model with its prompts, and concepts of labelled texts."""
    lm = ctx.lm
    if not isinstance(lm, LanguageModel) or not lm.is_causal:
        raise NotApplicable(f"{lm.name} writes no text")
    if not ctx.data.datasets:
        raise NotApplicable(f"data source {ctx.data.name!r} has no labelled data sets")
    if cfg.prompt_tokens + cfg.new_tokens + ROOM > lm.context:
        raise SaebenchError(
            f"steering reads {cfg.prompt_tokens} tokens, writes {cfg.new_tokens} and needs {ROOM} more, but {lm.name}"
            f" takes {lm.context}; lower new_tokens"
        )
    if cfg.judge_url:
        open_judge(cfg.judge_url, cfg.judge_model)  # to refuse it before anything is computed
    datasets = datasets_of(ctx, cfg.concepts)
    size = (cfg.prompts, cfg.prompt_tokens, cfg.new_tokens)
    prompts = prompts_of(lm, datasets, *size, cfg.temperature, cfg.seed)
    return TextWriter(ctx, lm, prompts), concepts_of(datasets, prompts.rows, cfg.seed)


@torch.no_grad()
def evaluate(subject: Subject, ctx: EvalContext, shared: Shared, cfg: Config, seeds: Sequence[int]) -> Scores:
    """The figures of one subject's direction for each concept.

    Args:
        subject: an SAE that shows its decoder, or a probe.
        ctx: the site.
        shared: from `prepare`.
        cfg: settings of the task.
        seeds: unused; `cfg.seed` names all draws.
    """
    out, writer, n = Scores(), shared.writer, shared.writer.chosen_on
    concepts, top = [target.concept for target in shared.targets], shared.sizes[-1].item()
    directions, latents = directions_of(subject, writer, concepts, top, cfg.candidates if cfg.rule == "writes" else 1)
    raised = writer.output_scores(directions, top)
    ctx.doing(f"steering: {subject.name}")
    outcomes = writer.steered(directions, shared.sizes)
    rated = []
    for i, (target, outcome) in enumerate(zip(shared.targets, outcomes, strict=True)):
        got = figures(presences(target.judge, [outcome])[0], outcome, target, n, cfg.budget)
        unit = target.concept.labelled.name
        _add(out, unit, got, target, raised[i].item())
        best = outcome.texts[got.best * writer.count :][n : writer.count]
        rated.append((unit, best))
        about: dict[str, object] = {"strength": float(f"{shared.sizes[got.best].item():.4g}"), "sample": best[0]}
        out.diagnostics[unit] = about | ({"latent": latents[i]} if latents else {})
    if cfg.judge_model:
        _add_ratings(out, rated, cfg)
    return out


def _add(out: Scores, unit: str, got: Figures, target: Target, raised: float) -> None:
    """Adds the metrics of one concept.

    Args:
        out: gets the values.
        unit: name of the concept.
        got: what the direction comes to.
        target: what it is compared with.
        raised: its output score.
    """
    null, spread = target.random.mean().item(), target.random.std().item()
    values = {
        "score": got.quality - null,
        "above_null": (got.quality - null) / spread if spread > 0 else float("nan"),
        "matched_presence": got.matched - target.random_matched.mean().item(),
        "quality": got.quality,
        "presence": got.presence,
        "fluency": got.fluency,
        "degenerate": got.degenerate,
        "dose_response": got.dose_response,
        "output_score": raised,
        "random_quality": null,
        "prompting": target.prompting,
        "unsteered": target.unsteered,
        "classifier_auroc": target.auroc,
    }
    for name, value in values.items():
        out.add(name, value, unit=unit)


def _add_ratings(out: Scores, rated: list[tuple[str, list[str]]], cfg: Config) -> None:
    """Adds the judge's mean rating of each concept's continuations; answers without a digit of 0 to 2 are left out."""
    judge = open_judge(cfg.judge_url, cfg.judge_model, max_tokens=4)
    answers = iter(judge.ask([RATING.format(concept=c, text=text) for c, texts in rated for text in texts]))
    for concept, texts in rated:
        digits = [re.search("[012]", next(answers)) for _ in texts]
        known = [int(d[0]) / 2 for d in digits if d]
        out.add("judge_presence", float(np.mean(known)) if known else float("nan"), unit=concept)


def reads(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> Reading:
    """Continuations, each written and then read again: unsteered, of random directions and of prompts that name a
    concept; of each subject's directions.
    """
    concepts, strengths = min(cfg.concepts, len(ctx.data.datasets)), len(set(cfg.strengths))
    each = 2 * cfg.prompts * (cfg.prompt_tokens + cfg.new_tokens)
    shared = (1 + cfg.random * strengths + concepts) * each + concepts * cfg.prompts * ROOM
    return Reading(shared, concepts * (strengths * each + ROOM))


TASK = Task(CARD, Config, prepare, evaluate, reads=reads)
