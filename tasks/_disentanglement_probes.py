"""Probes of SCR and TPP on mean activations, and their accuracy without some of an SAE's latents."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from saebench_lite.activations.pooling import pooled_acts
from saebench_lite.api.context import EvalContext
from saebench_lite.api.probe_types import Direction
from saebench_lite.data.splits import split_of
from saebench_lite.data.types import Corpus
from saebench_lite.metrics.probe_ablation import accuracy_without, chosen_latents, node_effects
from saebench_lite.probes.logistic import scores
from saebench_lite.probes.shared_rows import fit_each
from saebench_lite.saes.protocol import SAE
from saebench_lite.stats.seeds import rng
from saebench_lite.tasks._minimal_pairs_texts import SENTENCE, own_sample

FEWEST = 16
"Texts of each combination of two attributes, at least."
TRAINED = 0.75
"Share of the texts of a combination that train probes."


class Question(NamedTuple):
    """Rows of a corpus with labels, for training and for testing."""

    train: np.ndarray
    train_labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


class Probes(NamedTuple):
    """Yes/no questions about one corpus, each with its probe."""

    corpus: Corpus
    names: list[str]
    questions: list[Question]
    fitted: Direction
    scores: Tensor
    "Of each probe on each text. [probes, texts]"


class Pair(NamedTuple):
    """Two attributes and the set in which they go together: three probes."""

    name: str
    probes: Probes


def class_probes(ctx: EvalContext, classes: int, max_train: int, max_test: int, seed: int) -> Probes | None:
    """One probe for each of the first data sets of one corpus; None where there are not two.

    Args:
        ctx: the site.
        classes: data sets at most.
        max_train: training texts of a probe, at most.
        max_test: test texts, at most.
        seed: of the draw.
    """
    first = ctx.data.datasets[:1]
    same = [d for d in ctx.data.datasets if d.corpus.fingerprint == first[0].corpus.fingerprint][:classes]
    if len(same) < 2:
        return None
    questions = []
    for dataset in same:
        train, test = split_of(dataset, seed, max_train, max_test)
        rows, labels, test = np.asarray(dataset.rows), dataset.positive, test[:max_test]
        questions.append(Question(rows[train], labels[train], rows[test], labels[test]))
    return _fitted(ctx, same[0].corpus, [d.name for d in same], questions)


def biased_pairs(ctx: EvalContext, pairs: int, sizes: tuple[int, int, int], seed: int) -> list[Pair]:
    """Pairs of attributes all of whose combinations there are: of the data, else of the project's own sentences.

    Args:
        ctx: the site.
        pairs: at most.
        sizes: training texts and test texts of a probe, and own sentences, at most.
        seed: of the draw.
    """
    max_train, max_test, own_texts = sizes
    combined: list[Attributes] = list(itertools.islice(_pairs_of_data(ctx), pairs))
    if not combined and ctx.lm.tokenizer is not None:
        corpus, labels, rows = _own_sentences(own_texts, seed)
        of = [(a.name, labels[rows, i] == 1) for i, a in enumerate(SENTENCE)]
        combined = [(corpus, np.arange(len(rows)), of[i], of[i + 1]) for i in range(0, len(of) - 1, 2)][:pairs]
    out = []
    for corpus, rows, (first, a), (second, b) in combined:
        name = f"{first} and {second}"
        questions = _questions(rows, a, b, (max_train, max_test), rng("disentanglement", name, seed))
        out.append(Pair(name, _fitted(ctx, corpus, [first, second, "both"], questions)))
    return out


def own_tokens(ctx: EvalContext, own_texts: int, seeds: Sequence[int]) -> int:
    """Estimated tokens of own sentences; none where the data have a pair of attributes."""
    if ctx.lm.tokenizer is None or next(_pairs_of_data(ctx), None) is not None:
        return 0
    return sum(ctx.estimated_tokens(_own_sentences(own_texts, seed)[0]) for seed in seeds)


def _own_sentences(most: int, seed: int) -> tuple[Corpus, np.ndarray, np.ndarray]:
    """(sentences, attributes of all own texts [texts, 8], which of those the sentences are [n])."""
    sample = own_sample(most, 0, rng("disentanglement", seed))
    labels, rows = sample.labels[:, : len(SENTENCE)], sample.match
    rows = rows[(labels[rows] >= 0).all(1)]
    return Corpus("own sentences", tuple(sample.texts[i] for i in rows)), labels, rows


Attributes = tuple[Corpus, np.ndarray, tuple[str, np.ndarray], tuple[str, np.ndarray]]
"Corpus, rows [n], and name and labels [n] bool of two attributes."


def _pairs_of_data(ctx: EvalContext) -> Iterator[Attributes]:
    """Data sets of one corpus that hold all combinations of two attributes."""
    for first, second in itertools.combinations(ctx.data.datasets, 2):
        if first.corpus.fingerprint != second.corpus.fingerprint:
            continue
        rows, i, j = np.intersect1d(first.rows, second.rows, return_indices=True)
        a, b = first.positive[i], second.positive[j]
        if min((a & b).sum(), (a & ~b).sum(), (~a & b).sum(), (~a & ~b).sum()) >= FEWEST:
            yield first.corpus, rows, (first.name, a), (second.name, b)


def _questions(
    rows: np.ndarray, a: np.ndarray, b: np.ndarray, sizes: tuple[int, int], draw: np.random.Generator
) -> list[Question]:
    """The two attributes on texts of all combinations in equal number, and both present against both absent.

    Args:
        rows: texts of the corpus. [n]
        a: labels of the first attribute. [n] bool
        b: labels of the second. [n] bool
        sizes: training and test texts, at most.
        draw: chooses texts.
    """
    drawn = {
        (x, y): draw.permutation(np.flatnonzero((a == x) & (b == y))) for x in (True, False) for y in (True, False)
    }
    fewest = min(map(len, drawn.values()))
    quarter = min(sizes[0] // 4, int(TRAINED * fewest))
    tested = min(sizes[1] // 4, fewest - quarter)
    parts = [
        {key: of[:quarter] for key, of in drawn.items()},
        {key: of[quarter:][:tested] for key, of in drawn.items()},
    ]
    half = min(2 * quarter, *(len(drawn[key]) - tested for key in ((True, True), (False, False))))
    both = [{key: np.setdiff1d(drawn[key], parts[1][key])[:half] for key in ((True, True), (False, False))}, parts[1]]
    out = []
    for which, (train, test) in ((0, parts), (1, parts), (0, both)):
        chosen = [np.concatenate(list(part.values())) for part in (train, test)]
        labels = [np.concatenate([np.full(len(of), key[which]) for key, of in part.items()]) for part in (train, test)]
        out.append(Question(rows[chosen[0]], labels[0], rows[chosen[1]], labels[1]))
    return out


def _fitted(ctx: EvalContext, corpus: Corpus, names: list[str], questions: list[Question]) -> Probes:
    """Logistic regressions on the mean activation of each text."""
    x = pooled_acts(ctx.acts(corpus), "mean").double()
    y, mask = (torch.zeros(len(questions), len(x), dtype=torch.bool) for _ in range(2))
    for i, question in enumerate(questions):
        rows = torch.from_numpy(question.train)
        y[i, rows], mask[i, rows] = torch.from_numpy(question.train_labels), True
    fitted = fit_each(x, y, mask)
    return Probes(corpus, names, questions, fitted, scores(fitted, x))


class Ablations:
    """What probes of a corpus lose without latents of an SAE."""

    def __init__(self, sae: SAE, decoder: Tensor, probes: Probes, ctx: EvalContext, most: int) -> None:
        self.names, self._probes = probes.names, probes
        self._pull = (probes.fitted.weight.to(decoder) @ decoder.T).double().cpu()  # [probes, d_sae]
        pooled, effects = ctx.pooled(sae, probes.corpus, ["mean"]), []
        for latents, tables in pooled.blocks():
            codes, pulls = tables["mean"].cpu(), self._pull[:, latents.start : latents.stop]
            of = zip(probes.questions, pulls, strict=True)
            labelled = ((codes[q.train], torch.from_numpy(q.train_labels), pull) for q, pull in of)
            effects.append(torch.stack([node_effects(*each) for each in labelled]))
        self._effects = torch.cat(effects, 1)
        ways = [self.latents(i, most, signed=way) for i in range(len(self.names)) for way in (True, False)]
        used = torch.cat(ways).unique()
        self._place = torch.zeros(sae.d_sae, dtype=torch.long).index_put_((used,), torch.arange(len(used)))
        rows = (torch.from_numpy(question.test) for question in probes.questions)
        self._codes = [pooled.rows("mean", each).cpu()[:, used] for each in rows]

    def latents(self, probe: int, n: int, *, signed: bool = True) -> Tensor:
        """The n latents that add most to a probe; by the size of their effect, whatever its sign, if not `signed`.

        A signed effect counts where the latent fires more in the class.
        """
        effect, pull = self._effects[probe], self._pull[probe]
        return chosen_latents(torch.where(pull > 0, effect, 0.0) if signed else effect.abs(), n)

    def accuracy(self, probe: int, data: int, without: Tensor | None = None) -> float:
        """Accuracy of a probe on the test texts of a question, without some latents.

        Args:
            probe: which probe.
            data: whose texts and labels.
            without: latents that are ablated, among those that `latents` gives. [k] long
        """
        question, chosen = (
            self._probes.questions[data],
            torch.zeros(0, dtype=torch.long) if without is None else without,
        )
        score = self._probes.scores[probe, torch.from_numpy(question.test)]
        codes = self._codes[data][:, self._place[chosen]]
        return accuracy_without(score, codes, self._pull[probe, chosen], torch.from_numpy(question.test_labels))
