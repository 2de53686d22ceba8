"""Splits against a replay of the published draw order."""

import math

import numpy as np
import pytest

from saebench_lite.data.splits import distinct, given_split, normal_split, split_of
from saebench_lite.data.types import Corpus, Labelled
from saebench_lite.errors import SaebenchError


def labels(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.arange(n) % 2 == 0)


@pytest.mark.parametrize(
    ("n", "train", "test"), [(5000, 1024, 3975), (1062, 962, 99), (728, 628, 99), (2568, 1024, 1543)]
)
def test_sizes_and_draws_are_those_of_sae_probes(n, train, test):
    y = labels(n)
    got = normal_split(y, 42)
    assert (len(got.train), len(got.test)) == (train, test)
    draw = np.random.RandomState(42)
    yes, no = np.where(y)[0], np.where(~y)[0]
    a = draw.choice(yes, (train + 1) // 2, replace=False)
    b = draw.choice(no, train // 2, replace=False)
    c = draw.choice(np.setdiff1d(yes, a), (test + 1) // 2, replace=False)
    d = draw.choice(np.setdiff1d(no, b), test // 2, replace=False)
    assert np.array_equal(got.train, draw.permutation(np.concatenate([a, b])))
    assert np.array_equal(got.test, draw.permutation(np.concatenate([c, d])))
    assert not set(got.train) & set(got.test)


def test_unequal_and_small_classes():
    y = np.arange(400) < 90
    got = normal_split(y, 1)
    assert len(got.train) == 90
    assert abs(int(y[got.train].sum()) * 2 - len(got.train)) <= 1
    with pytest.raises(SaebenchError, match="5 positive and 395 negative texts are too few"):
        normal_split(np.arange(400) < 5, 1)


def test_given_parts_are_kept_and_balanced():
    part = np.array(["train"] * 60 + ["test"] * 30 + ["hard"] * 10)
    y = np.arange(100) % 3 == 0
    got = given_split(y, part, 42)
    assert set(part[got.train]) == {"train"}
    assert set(part[got.test]) == {"test"}
    assert y[got.train].sum() * 2 == len(got.train) == 40
    assert not np.array_equal(got.train, given_split(y, part, 43).train)


def labelled(rows, positive, part=None) -> Labelled:
    return Labelled("d", Corpus("c", tuple("abcdef")), np.array(rows), np.array(positive), part)


def test_duplicates_and_contradictions_go():
    got = distinct(labelled([0, 1, 0, 2, 3, 3, 1], [True, False, True, True, True, False, False]))
    assert got.rows.tolist() == [0, 1, 2]
    assert got.positive.tolist() == [True, False, True]


def test_errors_name_the_dataset():
    with pytest.raises(SaebenchError, match="dataset 'd': 2 positive and 1 negative"):
        split_of(labelled([0, 1, 2], [True, False, True]), 42)
    with pytest.raises(SaebenchError, match="dataset 'd' has only positive labels"):
        labelled([0, 1], [True, True])
    with pytest.raises(SaebenchError, match=r"dataset 'c' has one text \('abc'\) as texts; give a tuple of texts"):
        Corpus("c", "abc")  # type: ignore[arg-type]


@pytest.mark.parametrize("context", [0, -1, 2.5, math.nan, True, 10**400])
def test_a_context_is_a_number_of_tokens(context):
    with pytest.raises(SaebenchError, match=r"^dataset 'c' has a context of .* tokens; give a whole number"):
        Corpus("c", ("abc",), context=context)
