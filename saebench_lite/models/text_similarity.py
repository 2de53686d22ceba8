"""How alike texts are, by the words they share or by a local text encoder: no model under test, no remote service."""

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

    name = TF_IDF

    def __init__(self, texts: Sequence[str]) -> None:
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
    """Cosines of a text encoder's mean output over the tokens of a text, special ones included.

    Source: the mean pooling of sentence encoders (Reimers & Gurevych, arXiv:1908.10084).
    """

    def __init__(self, encoder: LanguageModel, texts: Sequence[str], batch_tokens: int = 8192) -> None:
        self.name = f"{encoder.name} {encoder.fingerprint()[:16]}"
        ids = encoder.tokenize(texts, context=None, long_texts="cut_right")
        self._rows = np.empty((len(texts), encoder.width))
        for rows, batch in encoder.batches(ids, max_tokens=batch_tokens):
            states, use = encoder.final(batch).double(), batch.attention[..., None]
            means = torch.where(use, states, 0.0).sum(1) / use.sum(1)
            self._rows[rows] = torch.nn.functional.normalize(means, dim=1).cpu().numpy()

    def cosines(self, a: np.ndarray, b: np.ndarray) -> Tensor:
        """As of `TextSimilarity`."""
        return torch.from_numpy(self._rows[a] @ self._rows[b].T)


def text_similarity(encoder: str, texts: Sequence[str], device: str = "cpu") -> TextSimilarity:
    """Cosines of a list of texts by the encoder that a setting names: `TF_IDF`, or a hub id or folder of an encoder."""
    return TfIdf(texts) if encoder == TF_IDF else Embedded(LanguageModel.load(encoder, device=device), texts)


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
