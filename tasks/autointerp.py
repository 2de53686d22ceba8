"""Autointerp: can texts on which a latent fires be told from others by what they say?

Texts are cut into windows of a few words, each read by the model on its own, so that a judge sees all that the latent
saw. Half of the texts, with all their windows, only ever serve as examples, the other half is only ever scored. A
latent is scored if it fires on enough windows of either side and is silent on enough; `scored_share` is the share of
latents for which that is so. Of those some are drawn at random.
embedding: a scored window's mean cosine to examples on which the latent fires, less that to examples on which it does
not; AUROC of this against whether it fires. embedding_other: the same with the examples of another latent.
intruder: of four windows of neighbouring rank and one on which the latent is silent, how often the one least like the
others is the silent one.
Cosines are of the mean outputs of a text encoder of this machine (`encoder`: by default all-MiniLM-L6-v2), or of TF-IDF
word counts; on a world, whose texts have no words, of the true features that a text holds, weighted as words are. None
writes an explanation, and nothing leaves the machine.
detection, on request: a judge (`judge_model`, behind `judge_url` or of this machine) writes an explanation from the
examples and says of each scored window whether it fits; balanced accuracy. detection_other: the same windows with the
explanation of another latent. detection_unclear: answers that are neither yes nor no, each half right.
It does not measure whether the latent matters to the model, nor whether it stands for one thing: a latent that fires
on one word scores high, and so may one of a random direction, which is why `matched_random` belongs beside it.

Source: Paulo & Belrose, arXiv:2507.08473 (example embedding, intruder detection); Paulo et al., arXiv:2410.13928
(detection); code: EleutherAI's delphi. Where we differ, and why:
- delphi's windows for explaining and for scoring overlap, by 11 to 20 of 50; here no text is on both sides;
- its windows are cut out of long contexts, so that what a latent reacts to may not be in them; here the model reads
  the window alone;
- intruders are picked by an encoder, not by a language model;
- examples are shown to a judge as they are, without marks on the tokens where the latent fires;
- answers that cannot be read count as half right, not as absent;
- the floor with another latent's examples is ours, and a random dictionary is a row of the same table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, NamedTuple

import numpy as np
import torch
from torch import Tensor

from saebench_lite.activations.pooled_codes import Pooled
from saebench_lite.api.card import Card
from saebench_lite.api.context import EvalContext
from saebench_lite.api.settings import Count, FileOrFolder, Range, Settings
from saebench_lite.api.subject import Subject
from saebench_lite.api.task import Reading, Scores, Task
from saebench_lite.errors import NotApplicable
from saebench_lite.metrics.interpretability import example_auroc, intruder_accuracy
from saebench_lite.models.judge import Judge, open_judge
from saebench_lite.models.minilm import MINILM
from saebench_lite.models.text_similarity import TextSimilarity
from saebench_lite.records.metric import Metric
from saebench_lite.stats.seeds import rng
from saebench_lite.tasks._autointerp_judge import Case, judged
from saebench_lite.tasks._autointerp_likeness import similarity_of
from saebench_lite.tasks._autointerp_windows import Sample, Windows, intruder_groups, sample_of, sides, windows_of

GROUP = 5
"Windows of an intruder test."
_share = partial(Metric, construct="recovery", lower_bound=0.0, upper_bound=1.0)

CARD = Card(
    name="autointerp",
    version=2,
    description="can texts on which a latent fires be told from others by what they say?",
    source="Paulo & Belrose, arXiv:2507.08473; delphi",
    headline=("embedding", "embedding_other", "intruder"),
    metrics=(
        _share(name="embedding", meaning="AUROC of likeness to examples of firing", better="higher", chance=0.5),
        _share(name="embedding_other", meaning="the same with another latent's examples", better="neither", chance=0.5),
        _share(
            name="intruder",
            meaning="how often the text least like the others is the silent one of five",
            better="higher",
            chance=1 / GROUP,
        ),
        _share(name="scored_share", meaning="latents that fire, and are silent, often enough", better="neither"),
        _share(
            name="detection", meaning="balanced accuracy of a judge with an explanation", better="higher", chance=0.5
        ),
        _share(
            name="detection_other",
            meaning="the same with another latent's explanation",
            better="neither",
            chance=0.5,
        ),
        _share(name="detection_unclear", meaning="answers that are neither yes nor no", better="neither"),
    ),
    on_request=("detection", "detection_other", "detection_unclear"),
    default=False,
)


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    encoder: FileOrFolder = MINILM
    """What tells how alike texts are: minilm, another text encoder's folder or hub name, or tf-idf, which needs none. A
    world is read by its true features whatever it is."""
    latents: Count = 100
    "Latents drawn for each seed at most."
    examples: Annotated[int, Range(2)] = 10
    "Example windows of either kind a latent; delphi explains with 40."
    scored: Annotated[int, Range(GROUP - 1)] = 10
    "Scored windows of either kind a latent; delphi scores 50."
    groups: Count = 10
    "Intruder tests a latent."
    window_words: Annotated[int, Range(4)] = 24
    "Words of a window; delphi has 32 tokens."
    max_windows: Count = 4000
    "Windows at most, evenly spaced over the texts."
    judge_url: str = ""
    "Address of an OpenAI-compatible server with a judge; its key comes from the environment alone."
    judge_model: FileOrFolder = ""
    "The judge's name there, or without a judge_url a Hugging Face model of this machine; empty: no judge."
    judge_latents: Count = 20
    "Latents of each seed that a judge is asked about at most."
    max_calls: Count = 5000
    "Calls of a remote judge at most, for the explanations and for the verdicts of a subject."


class Shared(NamedTuple):
    windows: Windows
    similarity: TextSimilarity
    shown: np.ndarray
    "Whether a window is on the side of examples. [seeds, windows] bool"
    judge: Judge | None = None


class Drawn(NamedTuple):
    """A latent and its windows."""

    latent: int
    examples: Sample
    scored: Sample
    groups: np.ndarray
    "[groups, GROUP]; the intruder stands first."


def prepare(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> Shared:
    """Windows of the data's texts, their likeness, and the side that each is on."""
    if not ctx.data.texts:
        raise NotApplicable(f"data source {ctx.data.name!r} has no texts")
    if ctx.lm.planted and (cfg.judge_url or cfg.judge_model):
        raise NotApplicable(f"texts of {ctx.lm.name} say nothing to a judge: they are numbers of samples")
    judge = None
    if cfg.judge_url or cfg.judge_model:
        judge = open_judge(cfg.judge_url, cfg.judge_model, cache=ctx.cache, max_calls=cfg.max_calls)
    windows = windows_of(ctx.data.texts, cfg.window_words, cfg.max_windows)
    similarity = similarity_of(ctx, windows.corpus, cfg.encoder)
    return Shared(windows, similarity, np.stack([sides(windows, seed) for seed in seeds]), judge)


@torch.no_grad()
def evaluate(subject: Subject, ctx: EvalContext, shared: Shared, cfg: Config, seeds: Sequence[int]) -> Scores:
    """The figures of one SAE.

    Args:
        subject: an SAE.
        ctx: the site.
        shared: windows and their sides, from `prepare`.
        cfg: settings of the task.
        seeds: of the repetitions.
    """
    out = Scores()
    pooled = ctx.pooled(subject.require_sae(), shared.windows.corpus, ("max",))
    eligible = eligible_latents(pooled, shared.shown, cfg)
    if not eligible.any():
        raise NotApplicable(
            f"no latent of {subject.name!r} fires and is silent on {cfg.examples} windows for examples and"
            f" {cfg.scored} to be scored; raise max_windows, or give more texts"
        )
    latents: dict[str, list[int]] = {}
    for seed, able, shown in zip(seeds, eligible, shared.shown, strict=True):
        out.add("scored_share", able.mean(), unit="all", seed=seed)
        order = rng("autointerp", "latents", seed).permutation(len(able))
        chosen = order[able[order]][: cfg.latents]
        drawn = drawn_windows(pooled, chosen, shown, cfg, seed)
        _add(out, drawn, shared, seed)
        latents[str(seed)] = [d.latent for d in drawn]
        if shared.judge is not None and drawn:
            cases = [Case(d.examples, d.scored) for d in drawn[: cfg.judge_latents]]
            for place, verdict in enumerate(judged(cases, shared.windows.corpus.texts, shared.judge, subject.name)):
                for name, value in verdict._asdict().items():
                    out.add(name, value, unit=f"draw {place}", seed=seed)
    out.diagnostics = {"encoder": shared.similarity.name, "windows": len(shared.windows.source), "latents": latents}
    return out


def eligible_latents(pooled: Pooled, shown: np.ndarray, cfg: Config) -> np.ndarray:
    """Latents with enough windows of firing and of silence on both sides: [seeds, d_sae] bool.

    Args:
        pooled: largest codes.
        shown: the side of examples. [seeds, windows] bool
        cfg: settings of the task.
    """
    both = torch.from_numpy(np.concatenate([shown, ~shown])).float()
    sizes, least = both.sum(1, keepdim=True), torch.tensor([cfg.examples, cfg.scored]).repeat_interleave(len(shown))
    parts = []
    for _, tables in pooled.blocks():
        firing = both.to(tables["max"].device) @ (tables["max"] > 0).float()
        enough = torch.minimum(firing.cpu(), sizes - firing.cpu()) >= least[:, None]
        parts.append(enough[: len(shown)] & enough[len(shown) :])
    return torch.cat(parts, 1).numpy()


def drawn_windows(pooled: Pooled, chosen: np.ndarray, shown: np.ndarray, cfg: Config, seed: int) -> list[Drawn]:
    """The chosen latents with windows of both sides, in the order of `chosen`.

    Args:
        pooled: largest codes.
        chosen: latents. [k]
        shown: the side of examples. [windows] bool
        cfg: settings of the task.
        seed: of the draws.
    """
    drawn = {}
    for block, tables in pooled.columns(torch.from_numpy(np.sort(chosen))):
        places = {latent: place for place, latent in enumerate(block.tolist())}
        for draw, latent in enumerate(chosen.tolist()):
            if latent in places:
                codes = tables["max"][:, places[latent]].cpu().numpy()
                drawn[draw] = Drawn(
                    latent,
                    sample_of(codes, shown, cfg.examples, "examples", seed, draw),
                    sample_of(codes, ~shown, cfg.scored, "scored", seed, draw),
                    intruder_groups(codes, ~shown, GROUP, cfg.groups, seed, draw),
                )
    return [drawn[draw] for draw in range(len(chosen))]


def _add(out: Scores, drawn: list[Drawn], shared: Shared, seed: int) -> None:
    """What needs no judge: the values of each latent drawn with a seed."""
    cosines = shared.similarity.cosines
    first = torch.zeros(len(drawn[0].groups) if drawn else 0, dtype=torch.long)
    for place, one in enumerate(drawn):
        other = drawn[place - 1]
        values = {"embedding": _likeness(cosines(one.scored.rows, one.examples.rows), one.scored, one.examples)}
        if len(drawn) > 1:
            foreign = cosines(one.scored.rows, other.examples.rows)
            values["embedding_other"] = _likeness(foreign, one.scored, other.examples)
        rows = one.groups.ravel()
        within = cosines(rows, rows).view(*one.groups.shape, *one.groups.shape).diagonal(dim1=0, dim2=2).movedim(-1, 0)
        values["intruder"] = intruder_accuracy(within, first).item()
        for name, value in values.items():
            out.add(name, value, unit=f"draw {place}", seed=seed)


def _likeness(cosines: Tensor, scored: Sample, examples: Sample) -> float:
    return example_auroc(cosines, torch.from_numpy(scored.firing), torch.from_numpy(examples.firing)).item()


def reads(ctx: EvalContext, cfg: Config, seeds: Sequence[int]) -> Reading:
    """The windows; a text encoder and a judge are not counted."""
    if ctx.lm.planted or not ctx.data.texts:
        return Reading()
    return Reading(ctx.estimated_tokens(windows_of(ctx.data.texts, cfg.window_words, cfg.max_windows).corpus))


TASK = Task(CARD, Config, prepare, evaluate, reads=reads)
