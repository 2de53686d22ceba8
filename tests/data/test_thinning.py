"""Fewer texts a dataset: classes keep their shares, datasets keep their corpus."""

import numpy as np
import pytest

from saebench_lite.data.thinning import thinned
from saebench_lite.data.types import Corpus, Data, Labelled, Parents
from saebench_lite.errors import SaebenchError


def many(n: int = 300) -> Data:
    """One corpus with three classes of 1/2, 1/3 and 1/6 of the texts, two thirds for training, and a free one."""
    corpus = Corpus("many", tuple(f"text {i}" for i in range(n)))
    owner = np.repeat([0, 1, 2], [n // 2, n // 3, n // 6])
    part = np.where(np.arange(n) % 3 < 2, "train", "test")
    sets = tuple(Labelled(str(c), corpus, np.arange(n), owner == c, part) for c in range(3))
    free = Corpus("free", tuple(f"free {i}" for i in range(50)), context=32)
    parents = Parents("tree", corpus, ("a", "b"), np.stack([owner == 0, owner == 1]))
    return Data("many", datasets=sets, concepts=sets, texts=(corpus, free), parents=(parents,))


@pytest.mark.parametrize("most", [30, 60, 299])
def test_classes_and_parts_keep_their_shares(most):
    thin = thinned(many(), max_texts=most)
    corpus = thin.datasets[0].corpus
    assert len(corpus.texts) == most
    for labelled, share in zip(thin.datasets, (1 / 2, 1 / 3, 1 / 6), strict=True):
        assert labelled.corpus is corpus
        for name, of in (("train", 2 / 3), ("test", 1 / 3)):
            assert abs((labelled.positive & (labelled.part == name)).sum() - most * share * of) <= 2


def test_every_row_keeps_its_text_and_its_label():
    whole, thin = many(), thinned(many(), max_texts=40)
    truth = {whole.datasets[1].corpus.texts[r]: y for r, y in zip(range(300), whole.datasets[1].positive, strict=True)}
    labelled = thin.datasets[1]
    assert all(truth[labelled.corpus.texts[r]] == y for r, y in zip(labelled.rows, labelled.positive, strict=True))
    assert thin.parents[0].member.shape == (2, 40)
    member = dict(zip(labelled.corpus.texts, thin.parents[0].member[1], strict=True))
    assert all(member[text] == truth[text] for text in labelled.corpus.texts)


def test_repeated_rows_and_texts_outside_the_dataset():
    corpus = Corpus("c", tuple("abcdefgh"))
    labelled = Labelled("x", corpus, np.array([0, 0, 2, 4, 6]), np.array([1, 1, 0, 1, 0], dtype=bool))
    thin = thinned(Data("d", datasets=(labelled,)), max_texts=6).datasets[0]
    whole = [(corpus.texts[r], bool(y)) for r, y in zip(labelled.rows, labelled.positive, strict=True)]
    assert [(thin.corpus.texts[r], bool(y)) for r, y in zip(thin.rows, thin.positive, strict=True)] == [
        pair for pair in whole if pair[0] in thin.corpus.texts
    ]


def test_context_is_the_least_asked_for():
    thin = thinned(many(), context=48)
    assert [c.context for c in thin.texts] == [48, 32]
    assert thin.datasets[0].corpus is thin.texts[0]


def test_nothing_asked_nothing_changed():
    data = many()
    for same in (thinned(data), thinned(data, max_texts=300)):
        assert same.datasets[0].corpus is data.datasets[0].corpus
        assert same.datasets[0].fingerprint == data.datasets[0].fingerprint
        assert same.texts == data.texts


def test_classes_that_repeat_as_the_texts_are_spaced_are_all_kept():
    """Every sixth text in file order would be of one class."""
    corpus = Corpus("c", tuple(f"text {i}" for i in range(300)))
    owner = np.arange(300) % 6
    sets = tuple(Labelled(str(c), corpus, np.arange(300), owner == c) for c in range(6))
    thin = thinned(Data("d", datasets=sets), max_texts=50)
    assert all(7 <= labelled.positive.sum() <= 10 for labelled in thin.datasets)


def test_a_dataset_of_which_one_class_is_left_is_left_out_and_told_of():
    corpus = Corpus("c", tuple(f"text {i}" for i in range(100)))
    rows = np.arange(100)
    even, rare = Labelled("even", corpus, rows, rows % 2 == 0), Labelled("rare", corpus, rows, rows == 7)
    small = thinned(Data("d", datasets=(even, rare), concepts=(even,)), max_texts=10)
    assert [d.name for d in (*small.datasets, *small.concepts)] == ["even", "even"]
    assert small.notes == (
        "1 of 2 data sets are left out: 10 texts of a corpus hold one class of them; the first: rare",
    )
    with pytest.raises(SaebenchError, match="10 texts of a corpus leave both classes to no data set"):
        thinned(Data("d", concepts=(rare,)), max_texts=10)
