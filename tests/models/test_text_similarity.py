"""Likeness of texts: word weights against scikit-learn, an encoder's means by hand."""

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from saebench_lite.models.text_similarity import TF_IDF, WORD, Embedded, TfIdf, embedded

TEXTS = ["The cat sat, and the cat ran.", "a CAT ran", "Zinc prices fell 3 %", "the the the", "?! ?", " "]
ALL = np.arange(len(TEXTS))


def test_tf_idf_is_that_of_scikit_learn():
    vectorizer = TfidfVectorizer(token_pattern=WORD.pattern, sublinear_tf=True)
    rows = vectorizer.fit_transform(TEXTS).toarray()
    assert TfIdf(TEXTS).cosines(ALL, ALL).numpy() == pytest.approx(rows @ rows.T, abs=1e-12)


def test_texts_without_a_word_in_common_and_without_any():
    alike = TfIdf(TEXTS)
    assert alike.name == TF_IDF
    got = alike.cosines(np.array([0, 5]), np.array([2, 0, 5]))
    assert got.shape == (2, 3)
    assert got.flatten().tolist() == pytest.approx([0, 1, 0, 0, 0, 0])


def test_an_encoder_is_read_by_the_mean_of_its_output(pico):
    """Of the last block, over all tokens of a text, whatever texts it is batched with and in whatever order."""
    rows = []
    for text in TEXTS[:4]:
        ((_, batch),) = pico.batches(pico.tokenize([text], context=None, long_texts="refuse"), max_tokens=64)
        mean = pico.collect(batch, [pico.last_hook])[pico.last_hook][0].double().mean(0)
        rows.append(mean / mean.norm())
    by_hand = torch.stack(rows) @ torch.stack(rows).T
    together = Embedded("pico", embedded(pico, TEXTS[:4], batch_tokens=16))
    turned = Embedded("pico", embedded(pico, TEXTS[3::-1]))
    assert together.cosines(ALL[:4], ALL[:4]).numpy() == pytest.approx(by_hand.numpy(), abs=1e-6)
    assert turned.cosines(ALL[3::-1], ALL[3::-1]).numpy() == pytest.approx(by_hand.numpy(), abs=1e-6)
