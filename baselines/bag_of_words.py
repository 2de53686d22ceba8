"""Bag of words: logistic regression on word counts of the raw text, with no model at all.

The floor of concept detection: what a method on activations does not beat, it did not read out of the model. AxBench's
BoW (Wu et al., arXiv:2501.17148, table 1: mean AUROC 0.914): words are lower-cased runs of two and more word
characters that occur in the training texts; L2, C = 100, counts as they are.
Where we differ: AxBench counts the words of the chat template too, here there is none.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from saebench_lite.api.baseline import Baseline
from saebench_lite.probes.logistic import fit_logistic

WORD = re.compile(r"(?u)\b\w\w+\b")
STRENGTH = 100.0


def counts(texts: Sequence[str], vocabulary: dict[str, int]) -> Tensor:
    """Word counts [texts, words] float64."""
    table = np.zeros((len(texts), len(vocabulary)))  # written a number at a time, which a tensor is slow at
    for row, text in enumerate(texts):
        for word, times in Counter(WORD.findall(text.lower())).items():
            if word in vocabulary:
                table[row, vocabulary[word]] = times
    return torch.from_numpy(table)


def fit(train: Sequence[str], y: Tensor, texts: Sequence[str]) -> Tensor:
    """Log-odds [len(texts)] of `texts` under the fit on `train` with labels y [n] bool."""
    words = sorted({word for text in train for word in WORD.findall(text.lower())})
    vocabulary = {word: i for i, word in enumerate(words)}
    seen, asked = counts(train, vocabulary), counts(texts, vocabulary)
    if len(words) > len(train):  # the solution lies in the span of the rows
        basis = torch.linalg.qr(seen.T).Q
        seen, asked = seen @ basis, asked @ basis
    labels = y.cpu()[None]
    fitted = fit_logistic(seen[None], labels, torch.ones_like(labels), torch.tensor([STRENGTH]))
    return asked @ fitted.weight[0] + fitted.bias[0]


BASELINE = Baseline(
    name="bag_of_words",
    description="logistic regression on word counts of the raw text, without any model (AxBench's BoW)",
    kind="baseline",
    texts_probe=fit,
    default=False,
)
