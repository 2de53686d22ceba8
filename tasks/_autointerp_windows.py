"""Windows of text that autointerp reads, which side of an evaluation each is on, and the rows drawn for a latent."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from saebench_lite.data.sampling import even
from saebench_lite.data.types import Corpus
from saebench_lite.stats.seeds import rng

WORD = re.compile(r"\S+")


class Windows(NamedTuple):
    """Distinct windows of texts, each a text of its own to the model."""

    corpus: Corpus
    source: np.ndarray
    "The text that each window was cut from. [windows]"


class Sample(NamedTuple):
    """Rows of one side drawn for a latent: it fires on the first half of them, strongest first, and on no other."""

    rows: np.ndarray
    "[2 n]"

    @property
    def firing(self) -> np.ndarray:
        """Whether the latent fires on each row. [2 n] bool"""
        return np.arange(len(self.rows)) < len(self.rows) // 2


def windows_of(corpora: Sequence[Corpus], words: int, most: int) -> Windows:
    """Windows of at most `words` words, evenly spaced over all texts where there are more than `most`.

    A window shorter than half of `words` is left out unless it is a whole text. One that stands twice, but for case and
    blanks, counts once, so that no text is on both sides.
    """
    texts: dict[str, tuple[str, int]] = {}
    whole = [text for corpus in corpora for text in corpus.texts]
    for source, text in enumerate(whole):
        spans = [match.span() for match in WORD.finditer(text)]
        for low in range(0, len(spans), words):
            part = spans[low : low + words]
            if low == 0 or 2 * len(part) >= words:
                window = text[part[0][0] : part[-1][1]]
                texts.setdefault(" ".join(window.split()).casefold(), (window, source))
    chosen = list(texts.values())
    places = even(len(chosen), most)
    cut, source = zip(*(chosen[place] for place in places), strict=True)
    return Windows(Corpus("windows", cut), np.array(source))


def sides(windows: Windows, seed: int) -> np.ndarray:
    """Whether each window is on the side that examples come from, not on the scored one. [windows] bool

    Half of the texts are on either side with all their windows.
    """
    sources = np.unique(windows.source)
    shown = rng("autointerp", "sides", seed).permutation(sources)[: (len(sources) + 1) // 2]
    return np.isin(windows.source, shown)


def sample_of(codes: np.ndarray, side: np.ndarray, n: int, *seed: object) -> Sample:
    """n rows on which a latent fires, evenly spaced over its ranks, and n on which it is silent, drawn at random.

    Args:
        codes: the latent's largest code on each window. [windows]
        side: windows that may be drawn. [windows] bool
        n: rows of either kind; the side must have as many.
        seed: names the draw.
    """
    firing, silent = np.flatnonzero(side & (codes > 0)), np.flatnonzero(side & (codes <= 0))
    ranked = firing[np.argsort(-codes[firing], kind="stable")]
    spaced = ranked[even(len(ranked), n)]
    return Sample(np.concatenate([spaced, rng("autointerp", *seed).choice(silent, n, replace=False)]))


def intruder_groups(codes: np.ndarray, side: np.ndarray, size: int, groups: int, *seed: object) -> np.ndarray:
    """Rows [groups, size]: in the first place one on which the latent is silent, then neighbours in rank.

    Args:
        codes: the latent's largest code on each window. [windows]
        side: windows that may be drawn. [windows] bool
        size: rows of a group.
        groups: how many, evenly spaced over the ranks.
        seed: names the draw.
    """
    firing, silent = np.flatnonzero(side & (codes > 0)), np.flatnonzero(side & (codes <= 0))
    ranked = firing[np.argsort(-codes[firing], kind="stable")]
    first = np.linspace(0, len(ranked) - (size - 1), groups).round().astype(int)
    alike = ranked[first[:, None] + np.arange(size - 1)]
    return np.column_stack([rng("autointerp", "intruders", *seed).choice(silent, groups), alike])
