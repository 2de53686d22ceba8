"""How alike texts are: by a local text encoder or the words they share. No model under test, no remote service."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from saebench_lite.models.language_model import LanguageModel

if TYPE_CHECKING:
    from scipy import sparse

TF_IDF = "tf-idf"
"Name of the similarity by shared words."
WORD = re.compile(r"\w+|[^\w\s]")
"A word, or a sign of its own."


class TextSimilarity(Protocol):
    """Cosines between texts of a fixed list."""

    name: str
    "What made it, as a record names it."

    def cosines(self, a: np.ndarray, b: np.ndarray) -> Tensor:
        """Cosine of each text of `a` [p] with each of `b` [q], by place in the list: [p, q] float64."""
        ...


class TfIdf:
    """Cosines of words weighted by (1 + log count) (1 + log((1 + texts) / (1 + texts with the word))).

    The weights are those of the list itself; a text without any word is like no other. Source: Salton & Buckley 1988.
    """

    def __init__(self, texts: Sequence[str], name: str = TF_IDF) -> None:
        self.name = name
        counts = _counts(texts)
        seen = np.bincount(counts.indices)
        rare = np.log((1 + len(texts)) / (1 + seen)) + 1
        counts.data = (1 + np.log(counts.data)) * rare[counts.indices]
        owner = np.repeat(np.arange(len(texts)), np.diff(counts.indptr))
        norms = np.sqrt(np.bincount(owner, counts.data**2, len(texts)))
        counts.data /= norms[owner]
        self._rows = counts

    def cosines(self, a: np.ndarray, b: np.ndarray) -> Tensor:
        """As of `TextSimilarity`."""
        return torch.from_numpy((self._rows[a] @ self._rows[b].T).toarray())


class Embedded:
    """Cosines of a text encoder's outputs.

    Args:
        name: of the encoder.
        rows: its output for each text, by `embedded`. [texts, width]
    """

    def __init__(self, name: str, rows: Tensor) -> None:
        self.name, self._rows = name, torch.nn.functional.normalize(rows.double(), dim=1)

    def cosines(self, a: np.ndarray, b: np.ndarray) -> Tensor:
        """As of `TextSimilarity`."""
        return self._rows[a.copy()] @ self._rows[b.copy()].T


def embedded(encoder: LanguageModel, texts: Sequence[str], batch_tokens: int = 8192) -> Tensor:
    """A text encoder's mean output over the tokens of each text, special ones included. [texts, width] float32

    Texts longer than the encoder takes are cut on the right.

    Source: the mean pooling of sentence encoders (Reimers & Gurevych, arXiv:1908.10084).

    Args:
        encoder: reads the texts.
        texts: any number.
        batch_tokens: padded tokens of a batch.
    """
    ids = encoder.tokenize(texts, context=None, long_texts="cut_right")
    out = torch.empty(len(texts), encoder.width)
    for rows, batch in encoder.batches(ids, max_tokens=batch_tokens):
        states = encoder.collect(batch, [encoder.last_hook])[encoder.last_hook].double()
        use = batch.attention[..., None]
        out[rows] = (torch.where(use, states, 0.0).sum(1) / use.sum(1)).float().cpu()
    return out


def _counts(texts: Sequence[str]) -> sparse.csr_array:
    """Word counts [texts, words] float64; words in the order in which they first occur."""
    from scipy import sparse

    places: dict[str, int] = {}
    rows, columns = [], []
    for row, text in enumerate(texts):
        for word in WORD.findall(text.lower()):
            rows.append(row)
            columns.append(places.setdefault(word, len(places)))
    ones = np.ones(len(rows))
    return sparse.csr_array(sparse.coo_array((ones, (rows, columns)), shape=(len(texts), max(1, len(places)))))
