"""Smaller data of the same kind: fewer texts a dataset, fewer tokens a text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from saebench_lite.data.types import Corpus, Data, Labelled, Parents
from saebench_lite.errors import SaebenchError


def thinned(data: Data, max_texts: int | None = None, context: int | None = None) -> Data:
    """Data with at most `max_texts` texts a corpus and `context` tokens a text; itself where that leaves all.

    Texts are drawn evenly from a corpus sorted by what its datasets say of each text (label and part in every one of
    them, then file order), so classes and parts keep their shares, up to one text each; nothing is random. Datasets
    that share a corpus still share it afterwards. One of which a single class is left is left out, with a note;
    SaebenchError where none is left that had been there.

    Args:
        data: What a source returned.
        max_texts: Texts of a corpus at most.
        context: Tokens of a text at most, special ones included.
    """
    kept: dict[str, tuple[Corpus, np.ndarray]] = {}
    about: dict[str, list[Labelled | Parents]] = defaultdict(list)
    for item in (*data.datasets, *data.concepts, *data.parents):
        about[item.corpus.fingerprint].append(item)
    corpora = {c.fingerprint: c for c in (*data.texts, *(i.corpus for items in about.values() for i in items))}
    for key, corpus in corpora.items():
        chosen = _chosen(len(corpus.texts), about[key], max_texts)
        shorter = corpus.context if context is None else min(context, corpus.context or context)
        if len(chosen) < len(corpus.texts) or shorter != corpus.context:
            corpus = replace(corpus, texts=tuple(corpus.texts[i] for i in chosen), context=shorter)
        kept[key] = corpus, chosen
    datasets, concepts = (
        [small for d in items if (small := _labelled(d, *kept[d.corpus.fingerprint])) is not None]
        for items in (data.datasets, data.concepts)
    )
    before = [d.name for d in (*data.datasets, *data.concepts)]
    gone = sorted({*before} - {d.name for d in (*datasets, *concepts)})
    if gone and not datasets and not concepts:
        raise SaebenchError(
            f"{max_texts} texts of a corpus leave both classes to no data set; give more with --max-texts"
        )
    lost = (
        f"{len(gone)} of {len({*before})} data sets are left out: {max_texts} texts of a corpus hold one class of them"
    )
    return replace(
        data,
        datasets=tuple(datasets),
        concepts=tuple(concepts),
        notes=(*data.notes, *([f"{lost}; the first: {gone[0]}"] if gone else [])),
        texts=tuple(kept[c.fingerprint][0] for c in data.texts),
        parents=tuple(_parents(p, *kept[p.corpus.fingerprint]) for p in data.parents),
    )


def _chosen(n: int, about: Sequence[Labelled | Parents], most: int | None) -> np.ndarray:
    """Rows of a corpus of n texts, ascending: `most` of them at most, spaced evenly over the strata."""
    if most is None or most >= n:
        return np.arange(n)
    keys = [key for item in about for key in _strata(item, n)]
    order = np.lexsort((np.arange(n), *keys)) if keys else np.arange(n)
    return np.sort(order[((np.arange(most) + 0.5) * n / most).astype(int)])


def _strata(item: Labelled | Parents, n: int) -> list[np.ndarray]:
    """What a dataset says of each text of its corpus: label (-1 where it says nothing) and part. [n] each"""
    if isinstance(item, Parents):
        return [*item.member]
    label = np.full(n, -1)
    label[item.rows] = item.positive
    if item.part is None:
        return [label]
    part = np.full(n, "", dtype=np.asarray(item.part).dtype)
    part[item.rows] = item.part
    return [label, part]


def _labelled(labelled: Labelled, corpus: Corpus, chosen: np.ndarray) -> Labelled | None:
    """The dataset on the chosen texts; None where they hold one class of it."""
    stay = np.isin(labelled.rows, chosen)
    if len(np.unique(labelled.positive[stay])) < 2:
        return None
    part = None if labelled.part is None else labelled.part[stay]
    rows = np.searchsorted(chosen, labelled.rows[stay])
    return replace(labelled, corpus=corpus, rows=rows, positive=labelled.positive[stay], part=part)


def _parents(parents: Parents, corpus: Corpus, chosen: np.ndarray) -> Parents:
    return replace(parents, corpus=corpus, member=parents.member[:, chosen])
