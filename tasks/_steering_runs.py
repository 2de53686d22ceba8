"""What a direction comes to for each concept, whatever writes under it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from saebench_lite.activations.acts import Acts
from saebench_lite.activations.pooled_codes import Pooled
from saebench_lite.activations.pooling import pooled_acts
from saebench_lite.api.subject import Subject
from saebench_lite.data.splits import detection_split
from saebench_lite.data.types import Corpus, Labelled
from saebench_lite.metrics.classification import auroc
from saebench_lite.probes.latent_selection import Ranked, class_differences_of_sets, merged, ranked
from saebench_lite.probes.single_latent import PREVALENCE
from saebench_lite.saes.protocol import SAE
from saebench_lite.stats.seeds import rng
from saebench_lite.tasks._steering_figures import Concept, Outcome, Target, figures, presences, quality

NEGATIVES = 4
"Negative texts for each positive one, for the classifier of continuations."


class Writer(Protocol):
    """Continues prompts with a vector added to its activations: a language model, or a world."""

    @property
    def count(self) -> int:
        """Prompts."""
        ...

    @property
    def chosen_on(self) -> int:
        """The first so many prompts choose the strength, the others are held out."""
        ...

    @property
    def device(self) -> str:
        """Where probes are fitted."""
        ...

    def acts(self, corpus: Corpus) -> Acts:
        """Activations of labelled texts."""
        ...

    def pooled(self, sae: SAE, corpus: Corpus) -> Pooled:
        """Largest codes of labelled texts."""
        ...

    def steered(self, directions: Tensor, sizes: Tensor) -> list[Outcome]:
        """The outcome of each direction [k, d] of norm 1, added at the norms sizes [s]."""
        ...

    def prompted(self, concept: Concept) -> Outcome:
        """The outcome of prompts that ask for the concept, unsteered; likelihoods without what asks for it. s = 1"""
        ...

    def output_scores(self, directions: Tensor, size: float) -> Tensor:
        """Output score of directions [k, d] of norm 1, added with a size to a neutral prompt. [k]"""
        ...


def concepts_of(datasets: Sequence[Labelled], taken: np.ndarray, seed: int) -> list[Concept]:
    """Concepts with their training texts in two parts of the same mix; the texts that prompts begin are left out.

    Args:
        datasets: the labelled texts.
        taken: rows of the first data set's corpus that prompts are openings of. [p]
        seed: of the splits.
    """
    concepts, corpus = [], datasets[0].corpus.fingerprint
    for labelled in datasets:
        if labelled.corpus.fingerprint == corpus:
            free = ~np.isin(labelled.rows, taken)
            part = None if labelled.part is None else labelled.part[free]
            labelled = replace(labelled, rows=labelled.rows[free], positive=labelled.positive[free], part=part)
        split, draw = detection_split(labelled, seed), rng("steering", labelled.name, seed)
        train = np.unique(split.train)  # drawn with replacement where the data has parts
        halves: tuple[list[np.ndarray], list[np.ndarray]] = [], []
        for side in (True, False):
            rows = draw.permutation(train[labelled.positive[train] == side])
            for half, piece in zip(halves, np.array_split(rows, 2), strict=True):
                half.append(piece)
        finding, judging = (np.concatenate(half) for half in halves)
        positives = int(labelled.positive[judging].sum())
        judging = judging[: positives * (1 + NEGATIVES)]  # positives come first
        finding, judging, test = ((labelled.rows[r], labelled.positive[r]) for r in (finding, judging, split.test))
        concepts.append(Concept(labelled, finding, judging, test))
    return concepts


def target_of(concept: Concept, writer: Writer, plain: Outcome, random: list[Outcome], budget: float) -> Target:
    """One concept with its classifier, the unsteered model, prompting and random directions.

    Args:
        concept: its texts.
        writer: continues prompts.
        plain: unsteered continuations.
        random: those of random directions.
        budget: largest ratio of perplexities for matched presence.
    """
    n, none = writer.chosen_on, torch.empty(0)
    target = Target(concept, plain.nll[:, n:].mean().item(), 0.0, 0.5, 0.0, none, none)
    rows, positive = concept.test
    margins, label = target.judge([concept.labelled.corpus.texts[i] for i in rows]), torch.from_numpy(positive)
    asked = writer.prompted(concept)
    without, named = presences(target.judge, [plain, asked])
    target = target._replace(
        unsteered=without[:, n:].mean().item(),
        auroc=auroc(margins[label], margins[~label]).item(),
        prompting=quality(named, asked, target.reference)[:, n:].mean().item(),
    )
    null = [
        figures(present, outcome, target, n, budget)
        for present, outcome in zip(presences(target.judge, random), random, strict=True)
    ]
    return target._replace(
        random=torch.tensor([f.quality for f in null]), random_matched=torch.tensor([f.matched for f in null])
    )


@torch.no_grad()
def best_detectors(writer: Writer, sae: SAE, concepts: Sequence[Concept], most: int) -> list[Tensor]:
    """The latents that detect each concept best, best first: largest standardised difference of class means. [most]"""
    best: list[Ranked | None] = [None] * len(concepts)
    corpora = {c.labelled.corpus.fingerprint: c.labelled.corpus for c in concepts}
    for fingerprint, corpus in corpora.items():
        own = [i for i, c in enumerate(concepts) if c.labelled.corpus.fingerprint == fingerprint]
        sets = [(torch.as_tensor(rows), torch.as_tensor(labels)) for rows, labels in (concepts[i].finding for i in own)]
        for block, tables in writer.pooled(sae, corpus).blocks():
            for i, score in zip(own, class_differences_of_sets(tables["max"], sets, PREVALENCE), strict=True):
                best[i] = merged(best[i], ranked(score, block.start, most), most)
    return [one.latent for one in best if one is not None]


def directions_of(
    subject: Subject, writer: Writer, concepts: Sequence[Concept], size: float, candidates: int
) -> tuple[Tensor, list[int]]:
    """Directions [concepts, d] of norm 1, and the latents they belong to (none for a probe).

    Args:
        subject: an SAE that shows its decoder, or a probe.
        writer: continues prompts.
        concepts: what the directions stand for.
        size: norm at which output scores are measured.
        candidates: best detectors of which the one with the largest output score is taken; 1: the best detector.
    """
    if subject.probe is not None:
        rows = []
        for concept in concepts:
            texts, label = concept.finding
            x = pooled_acts(writer.acts(concept.labelled.corpus).take(texts), "mean", writer.device)
            y = torch.from_numpy(label).to(x.device)[None]
            rows.append(subject.probe(x, y, torch.ones_like(y)).weight[0].float().cpu())
        return _unit(torch.stack(rows)), []
    decoder, sae = _unit(subject.require_decoder().float().cpu()), subject.require_sae()
    latents = []
    for best in best_detectors(writer, sae, concepts, candidates):
        best = best.cpu()
        place = writer.output_scores(decoder[best], size).argmax() if len(best) > 1 else 0
        latents.append(int(best[place]))
    return decoder[latents], latents


def _unit(rows: Tensor) -> Tensor:
    """Rows [k, d] of norm 1; zero rows stay zero."""
    return rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)
